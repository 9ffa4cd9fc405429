"""The training-free methods that are compared with AZ-NAS: which proxies, how combined.

Every method is one score per architecture, higher is better, from proxies of which any may have
failed. As everywhere in azlib (`aggregate.rank`) a NaN or -inf ranks last, within the method as
in the comparison; nothing is dropped or filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import chain
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from azlib.aggregation import AZ_NAS, aggregate, rank
from azlib.companion import paper
from azlib.errors import AzlibError, unknown
from azlib.scoring import manifest
from azlib.scoring.files import COMMITTED, load_nearest
from azlib.spaces.base import EnumerableSpace

_UNFED = {"params", "trainable_layers", "complexity", "synflow"}  # they read no images at all
_COUNTED = {"params", "trainable_layers", "complexity"}  # these cost no pass through the network
_ONE_PASS = {name: "az" for name in AZ_NAS if name not in _COUNTED}


# --- how proxies become one score ----------------------------------------------------------


def alone(frame: pd.DataFrame) -> pd.Series:
    """The one column there is."""
    return frame.iloc[:, 0]


def rank_sum(frame: pd.DataFrame) -> pd.Series:
    """Sum of ascending ranks, ties averaged, no logarithm: how TE-NAS joins its two terms."""
    return pd.Series(sum(rank(frame[name]) for name in frame), index=frame.index)


def lexicographic(frame: pd.DataFrame) -> pd.Series:
    """Dense ascending rank by the first column, ties broken by the next: VKDNW single.

    Equal rows share a rank and the next distinct one gets the next integer, as in the published
    code. A row with a failed score ranks last whatever its other columns say.
    """
    ranks = np.column_stack([rank(frame[name]) for name in frame])
    ranks[_failed(frame)] = 0
    _, dense = np.unique(ranks, axis=0, return_inverse=True)
    return pd.Series(dense.reshape(-1) + 1.0, index=frame.index)


def vkdnw_agg(frame: pd.DataFrame) -> pd.Series:
    """ln of the dense rank of (ℵ, H) plus Σ ln rank of the other columns, ties averaged.

    The published ranks are not divided by m, which only shifts the sum. The published code gives
    an undefined Jacov the lowest value that occurs; here it ranks last, which is the same but for
    ties with that value.
    """
    layers_and_entropy, others = frame.iloc[:, :2], list(frame)[2:]
    return np.log(lexicographic(layers_and_entropy)) + aggregate(frame, "log", others)


def log_sum(frame: pd.DataFrame) -> pd.Series:
    """Eq. 12 over all columns."""
    return aggregate(frame, "log", list(frame))


def linear_sum(frame: pd.DataFrame) -> pd.Series:
    """Eq. 12 without the logarithm."""
    return aggregate(frame, "linear", list(frame))


def _failed(frame: pd.DataFrame) -> NDArray[np.bool_]:
    return (frame.isna() | np.isneginf(frame)).any(axis=1).to_numpy()


# --- the methods ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A method of the comparison.

    name: as in `azlib.companion.paper`. proxies: the columns that `combine` gets, in this order.
    combine: (m, proxies) scores of one seed -> m scores. kind: "single" or "multiple" proxies, as
    the methods' authors count them. note: what a reader of the table must know.
    """

    name: str
    proxies: tuple[str, ...]
    combine: Callable[[pd.DataFrame], pd.Series] = alone
    kind: str = "single"
    note: str = ""

    def score(self, frame: pd.DataFrame) -> pd.Series:
        """One score per row of `frame`, which has a column for each proxy; its index is kept."""
        return self.combine(frame[list(self.proxies)])

    def failed(self, frame: pd.DataFrame) -> int:
        """Rows in which one of the proxies is NaN or -inf."""
        return int(_failed(frame[list(self.proxies)]).sum())


_ENTROPY = ("trainable_layers", "vkdnw_entropy")

METHODS: tuple[Method, ...] = (
    Method("#Params", ("params",)),
    Method("FLOPs", ("complexity",)),
    Method("Trainable layers", ("trainable_layers",)),
    Method("GradNorm", ("grad_norm",), note="random labels"),
    Method("SNIP", ("snip",)),
    Method("GraSP", ("grasp",)),
    Method("SynFlow", ("synflow",), note="all normalisation layers removed"),
    Method("Fisher", ("fisher",)),
    Method("NASWOT", ("naswot",), note="ReLUs on dead edges count"),
    Method("Jacov", ("jacov",)),
    Method("EPE-NAS", ("epe_nas",)),
    Method("Zen", ("zen",), note="network of its own, where the re-run shared one"),
    Method("GradSign", ("gradsign",), note="sum over weights"),
    Method("GradSign mean", ("gradsign_mean",), note="mean over weights that are alive"),
    Method("ZiCo", ("zico",)),
    Method(
        "TE-NAS",
        ("ntk", "linear_regions"),
        rank_sum,
        "multiple",
        note="network of its own, where the re-run added SNIP's masks to the kernel",
    ),
    Method("VKDNW single", _ENTROPY, lexicographic, note="first 128 tensors"),
    Method(
        "VKDNW agg",
        (*_ENTROPY, "expressivity", "trainability", "complexity", "jacov"),
        vkdnw_agg,
        "multiple",
        note="first 128 tensors",
    ),
    Method("AZ-NAS linear", AZ_NAS, linear_sum, "multiple"),
    Method("AZ-NAS", AZ_NAS, log_sum, "multiple"),
)
"""The rows of Table 1, AZ-NAS last."""


def method(name: str) -> Method:
    """The method of that name. Raises `AzlibError` for an unknown one."""
    for found in METHODS:
        if found.name == name:
            return found
    raise unknown("method", name, [found.name for found in METHODS])


# --- their scores --------------------------------------------------------------------------


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """Groups of proxies that are scored together in NAS-Bench-201, as the manifest has them."""
    plain = [e for e in manifest.entries() if e.file == f"{e.group}_nasbench201_32px"]
    return {entry.group: entry.names for entry in plain}


def read(
    dataset: str, space: EnumerableSpace, folder: str | Path = COMMITTED
) -> dict[str, pd.DataFrame]:
    """The scores of each group that was scored, for one data set: group -> frame.

    Frames are those of `files.load_nearest`: all but AZ-NAS' are at 32 pixels for all data sets.
    """
    return {
        group: load_nearest(dataset, space, group, folder)
        for group in groups()
        if (Path(folder) / f"{group}_{space.name}_32px.parquet").exists()
    }


def group_of(proxy: str) -> str:
    """The group whose files hold a proxy. Raises `AzlibError` for a proxy that no method has."""
    for group, proxies in groups().items():
        if proxy in proxies:
            return group
    raise unknown("proxy of a method", proxy, chain.from_iterable(groups().values()))


def missing(proxies: Sequence[str], frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """Those of the proxies that have not been scored."""
    return [name for name in proxies if name not in frames.get(group_of(name), ())]


def join(proxies: Sequence[str], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`arch`, `seed` and the proxies, for the architectures and seeds that have all of them.

    frames: as `read` gives them. Raises `AzlibError` if a proxy has not been scored, or if the
    groups share no architecture and seed.
    """
    if lacking := missing(proxies, frames):
        raise AzlibError(
            f"no scores of {', '.join(lacking)} here: make them with `azlib scores`, or leave out "
            "the methods that need them"
        )
    used = dict.fromkeys(group_of(name) for name in proxies)
    parts = [
        frames[group][["arch", "seed", *(p for p in proxies if p in groups()[group])]]
        for group in used
    ]
    joined = reduce(lambda a, b: a.merge(b, on=["arch", "seed"]), parts)
    if joined.empty:
        raise AzlibError(f"{', '.join(used)}: no architecture was scored by all, seed by seed")
    return joined


def fed(proxies: Sequence[str], frames: Mapping[str, pd.DataFrame]) -> str:
    """What the proxies were computed on, such as "gaussian 32 px + patches 32 px"; "none" if on
    nothing but the network (or, for SynFlow, a constant image)."""
    inputs = set()
    for name in set(proxies) - _UNFED:
        settings = frames[group_of(name)].attrs["settings"]
        # A group reads either noise or labelled images, and then its file says which.
        inputs.add(f"{settings.labelled_images or settings.noise_source} {settings.resolution} px")
    return " + ".join(sorted(inputs)) or "none"


def milliseconds(proxies: Sequence[str], times: Mapping[str, float]) -> float:
    """Running time per architecture: the sum over the passes that the proxies need.

    times: milliseconds by proxy, those of AZ-NAS's one pass under "az" (as `make bench` writes
    them). Counting costs nothing. NaN if a time is not known.
    """
    passes = {_ONE_PASS.get(name, name) for name in proxies if name not in _COUNTED}
    return float(sum(times.get(name, nan) for name in passes))


# --- what others report --------------------------------------------------------------------

_VKDNW = {"all": "VKDNW all", "no-dead-edges": "VKDNW Table 1"}
_IN_VKDNW = {"GradSign": "", "GradSign mean": "GradSign"}  # its re-run is of the mean


def published(name: str, dataset: str, architectures: str) -> dict[str, float]:
    """paper_tau, paper_rho, vkdnw_tau, vkdnw_rho of a method; NaN where nothing is published.

    architectures: "all" or "no-dead-edges". The paper's table is on all of them, VKDNW's re-runs
    are on both sets.
    """
    rerun, theirs = _VKDNW[architectures], _IN_VKDNW.get(name, name)
    values = {
        "paper_tau": paper.value("Table 1", name, "kendall_tau", dataset),
        "paper_rho": paper.value("Table 1", name, "spearman_rho", dataset),
        "vkdnw_tau": paper.value(rerun, theirs, "kendall_tau", dataset),
        "vkdnw_rho": paper.value(rerun, theirs, "spearman_rho", dataset),
    }
    if name == "AZ-NAS linear":
        values["paper_tau"] = paper.value("Table 4", "linear", "kendall_tau", dataset)
    if architectures != "all":
        values |= {"paper_tau": nan, "paper_rho": nan}
    return values
