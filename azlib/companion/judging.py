"""Networks that a search found, judged afresh beside others (notebooks 15 to 17)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from azlib.aggregation import AZ_NAS, aggregate
from azlib.scoring.files import read, read_settings
from azlib.scoring.pool import Execution
from azlib.settings import ScoreSettings
from azlib.spaces.autoformer import AutoFormer
from azlib.spaces.base import SearchSpace
from azlib.spaces.mobilenetv2 import MobileNetV2

Summary = Mapping[str, Any]
"""What the JSON file beside the log of a search says."""


def scores_of(
    archs: Iterable[str],
    space: SearchSpace,
    path: str | Path,
    settings: ScoreSettings,
    seeds: Sequence[int],
) -> pd.DataFrame:
    """The scores of some architectures, from a file that holds them; what it lacks is computed.

    So the numbers of an exhibit come from committed scores, which are the same on any machine.

    Args:
        archs: the architectures.
        space: their search space.
        path: the score file, which is made or continued.
        settings: how to score.
        seeds: of the scores.

    Raises:
        AzlibError: the file holds scores of other settings, or is damaged.
    """
    path, archs = Path(path), list(dict.fromkeys(archs))
    settings = replace(settings, labelled_images=None)  # the proxies of a search read none
    if not _holds(path, archs, settings, seeds):
        from azlib.scoring.sweep import sweep  # loads torch

        sweep(space, path, settings, seeds=seeds, archs=archs, execution=Execution(workers=1))
    held = read(path)
    return held[held["arch"].isin(archs)]


def _holds(path: Path, archs: list[str], settings: ScoreSettings, seeds: Sequence[int]) -> bool:
    if not path.exists() or read_settings(path).score != settings:
        return False
    frame = read(path)
    return {(arch, seed) for arch in archs for seed in seeds} <= set(
        zip(frame["arch"], frame["seed"], strict=True)
    )


def summaries(searches: str | Path, space: str) -> dict[tuple[str, int], Summary]:
    """The summaries of all searches of a space: (what follows its name, seed) -> summary."""
    found = {}
    for path in sorted(Path(searches).glob(f"{space}_*_seed*.json")):
        if match := re.fullmatch(rf"{re.escape(space)}_(.+)_seed(\d+)", path.stem):
            found[match[1], int(match[2])] = json.loads(path.read_text(encoding="utf-8"))
    return found


def listed(found: Mapping[tuple[str, int], Summary]) -> pd.DataFrame:
    """One row per search: what it cost and what it found."""
    rows = []
    for (name, seed), summary in found.items():
        batch, _, _, pixels = summary["settings"]["score"]["settings"]["input_shape"]
        row = {"search": name, "seed": seed, "candidates": summary["candidates"]}
        row |= {"distinct": summary["distinct"], "batch": batch, "pixels": pixels}
        row |= {"core-hours": summary["core_hours"]}
        row |= {"FLOPs, M": summary["macs"] / 1e6, "params, M": summary["params"] / 1e6}
        rows.append(row | {name: summary["scores"][name] for name in AZ_NAS[:3]})
    return pd.DataFrame(rows).sort_values(["search", "seed"])


def layers(networks: Mapping[str, str], space: MobileNetV2 | AutoFormer) -> pd.DataFrame:
    """The layers of networks, by title, as `plots.networks` draws them."""
    rows = [(name, *layer) for name, arch in networks.items() for layer in space.layers(arch)]
    return pd.DataFrame(rows, columns=["network", "width", "kind", "text"])


def judge(contenders: Mapping[tuple[str, int | None], str], scored: pd.DataFrame) -> pd.DataFrame:
    """Contenders ranked among all that was scored, under each seed of the scores.

    Args:
        contenders: (search, its seed) -> architecture.
        scored: one row per (arch, seed), of the contenders and of random structures.

    Returns:
        One row per contender: the log-rank sum (mean over the seeds and under each), its place, how
        many random structures are ahead, and the mean of each proxy.
    """
    totals = pd.concat(
        {seed: aggregate(frame.set_index("arch")) for seed, frame in scored.groupby("seed")}, axis=1
    )
    mean = totals.mean(axis=1)
    judged = pd.DataFrame(list(contenders), columns=["search", "seed"])
    judged["structure"] = archs = list(contenders.values())
    judged["log-rank sum"] = mean.loc[archs].to_numpy()
    for seed in totals:
        judged[f"under seed {seed}"] = totals.loc[archs, seed].to_numpy()
    judged["place"] = mean.rank(ascending=False).loc[archs].astype(int).to_numpy()
    others = mean.drop(archs)
    judged["random structures ahead"] = [int((others > mean[arch]).sum()) for arch in archs]
    raw = scored.groupby("arch")[list(AZ_NAS)].mean().loc[archs]
    return judged.join(raw.reset_index(drop=True))


def among(named: Mapping[str, str], everyone: pd.DataFrame, space: AutoFormer) -> pd.DataFrame:
    """Some networks ranked among all candidates of a search.

    Args:
        named: network -> architecture.
        everyone: one row per candidate, with `structure` and the scores that the space ranks by.
        space: the search space.

    Returns:
        One row per network: its scores, log-rank sum, place of how many, and costs.
    """
    archs, proxies = list(named.values()), list(space.proxies)
    scores = everyone.drop_duplicates("structure").set_index("structure")
    total = aggregate(scores, proxies=proxies)
    frame = scores.loc[archs, proxies].reset_index()
    frame.insert(0, "network", list(named))
    frame["log-rank sum"] = total[archs].to_numpy()
    frame["place"] = total.rank(ascending=False)[archs].astype(int).to_numpy()
    frame["of"] = len(total)
    frame["params"] = [space.count(arch)["params"] for arch in archs]
    frame["macs"] = [space.count(arch)["macs"] for arch in archs]
    return frame


def wins(judged: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """Whether the network that Algorithm 1 found beats each opponent, seed by seed of the search.

    judged: as `judge` returns it. The initial structure is one for all seeds.
    """
    at = judged.set_index(["search", "seed"])["log-rank sum"]
    start = judged.set_index("search")["log-rank sum"]["initial structure"]
    rivals = ("random search", "FLOPs only", "parameters only")
    return pd.DataFrame(
        {
            seed: {"initial structure": at["Algorithm 1", seed] > start}
            | {rival: at["Algorithm 1", seed] > at[rival, seed] for rival in rivals}
            for seed in seeds
        }
    )
