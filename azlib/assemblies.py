"""Which proxies are ranked together. Little is imported here, so that it can be read quickly."""

from __future__ import annotations

from collections.abc import Iterable

AZ_NAS = ("expressivity", "progressivity", "trainability", "complexity")
ASSEMBLIES: dict[str, tuple[str, ...]] = {
    "az-nas": AZ_NAS,
    "az-live": ("expressivity", "progressivity", "trainability", "live_macs"),
    "az-graph": (
        "expressivity",
        "progressivity",
        "trainability",
        "live_macs",
        "trainable_layers",
        "mean_depth",
        "shortest_path",
        "sharp_depth",
        "mean_sharp_depth",
        "fewest_poolings",
    ),
    "az-graph-epe": (
        "expressivity",
        "expressivity",
        "progressivity",
        "trainability",
        "live_macs",
        "live_macs",
        "mean_depth",
        "shortest_path",
        "sharp_depth",
        "fewest_poolings",
        "epe_nas",
    ),
    "az-transfer": ("trainability", "live_macs", "sharp_depth", "mean_sharp_depth"),
}
"""Proxies by the name of their assembly: the paper's, the same with live MACs for complexity, two
that notebook 13 chooses for NAS-Bench-201, and one that notebook 24 chooses for any space. A proxy
that stands twice weighs twice."""


def expanded(proxies: str | Iterable[str]) -> tuple[str, ...]:
    """Names of proxies, from a list or from text such as "az,zen", with assemblies written out.

    "az" is the paper's four. What stands twice, in an assembly for one, stays twice.
    """
    parts = proxies.split(",") if isinstance(proxies, str) else proxies
    known = {"az": AZ_NAS, **ASSEMBLIES}
    return tuple(name for part in parts for name in known.get(part.strip(), (part.strip(),)))
