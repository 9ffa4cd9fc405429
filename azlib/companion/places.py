"""The benchmarks on which methods are compared, with the committed scores of their spaces.

A *place* is a benchmark with the score files of its space. The first seed counts, as it is the one
that every proxy has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from azlib import spaces
from azlib.aggregation import ASSEMBLIES, AZ_NAS, aggregate
from azlib.companion import methods
from azlib.companion.data.truth import ground_truth, named
from azlib.companion.methods import METHODS, Method
from azlib.errors import unknown
from azlib.scoring import manifest
from azlib.scoring.architectures import sample
from azlib.scoring.files import COMMITTED, expand, read, read_settings
from azlib.spaces.base import EnumerableSpace
from azlib.spaces.nasbench201 import NASBench201

SEED = 1
COUNTS = (
    "params",
    "live_macs",
    "live_layers",
    "live_paths",
    "effective_depth",
    "mean_depth",
    "shortest_path",
    "sharp_depth",
    "mean_sharp_depth",
)
"""What can be counted in a network without weights or images, on any space."""


@dataclass(frozen=True)
class Place:
    """A benchmark and where the scores of its space are.

    benchmark: as `azlib.companion.data` calls it. title: for readers. files: what follows the group
    in the names of its score files; None for NAS-Bench-201, whose files depend on the data set.
    odd: the tasks that are left out of means, as they order networks unlike all others.
    """

    benchmark: str
    title: str
    files: str | None
    odd: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks on which methods are compared."""
        tasks = named(self.benchmark).tasks
        return tasks[:1] if self.benchmark == "nas-bench-macro" else tasks


PLACES: Mapping[str, Place] = MappingProxyType(
    {
        place.benchmark: place
        for place in (
            Place("nas-bench-201", "NAS-Bench-201", None),
            Place(
                "transnas-bench-101-micro",
                "TransNAS micro",
                "transnas101-micro_64px",
                ("autoencoder",),
            ),
            Place("nas-bench-macro", "Macro", "nasbench-macro_32px"),
            Place("autoformer-tiny", "ViTs", "autoformer-tiny_112px_trained"),
        )
    }
)
CNNS = tuple(name for name in PLACES if name != "autoformer-tiny")
"""The places of convolutional networks."""


def _assembly(name: str) -> Method:
    """An assembly as a method; a member that stands in it twice weighs twice."""
    members = ASSEMBLIES[name]
    combine = partial(aggregate, method="log", proxies=members)
    return Method(name, tuple(dict.fromkeys(members)), combine, "multiple")


COMPARED: tuple[Method, ...] = (
    *METHODS,
    Method("Depth", ("effective_depth",), note="layers on the longest live path"),
    Method("Sharp depth", ("sharp_depth",)),
    Method("Mean sharp depth", ("mean_sharp_depth",)),
    *(_assembly(name) for name in ASSEMBLIES if name != "az-nas"),
)
"""The methods of Table 1, depths as counts to beat, and what this project adds."""
CHOSEN_HERE = ("az-graph", "az-graph-epe", "az-transfer")
"""Those that were chosen on some of the accuracies of `PLACES`, where they look better than they
are: the first two on half of NAS-Bench-201's CIFAR-10, the last on halves of all `CNNS`."""


def method(name: str) -> Method:
    """The method of that name among those `COMPARED`. Raises `AzlibError` for an unknown one."""
    for found in COMPARED:
        if found.name == name:
            return found
    raise unknown("method", name, [found.name for found in COMPARED])


def left_aside(benchmark: str) -> set[str]:
    """The proxies of AZ-NAS that the paper does not use in the space of a benchmark.

    Of vision transformers it leaves out progressivity.
    """
    return set(AZ_NAS) - set(spaces.get(str(named(benchmark).space)).proxies)


def fitted(method: Method, benchmark: str) -> Method | None:
    """A method as it is used on a benchmark, see `left_aside`; None if nothing is left of it."""
    aside = left_aside(benchmark)
    proxies = tuple(name for name in method.proxies if name not in aside)
    if not proxies or proxies == method.proxies:
        return method if proxies else None
    combine = method.combine
    if isinstance(combine, partial):
        members = [name for name in combine.keywords["proxies"] if name not in aside]
        combine = partial(aggregate, method="log", proxies=members)
    return replace(method, proxies=proxies, combine=combine)


def singles(proxies: Sequence[str]) -> list[Method]:
    """Each proxy as a method of its own, under its own name."""
    return [Method(name, (name,)) for name in proxies]


@cache
def frames(benchmark: str, task: str, folder: Path = COMMITTED) -> tuple[pd.DataFrame, ...]:
    """The scores of a place under the first seed: one frame per file, indexed by architecture.

    Architectures that are the same network have the same scores, but for what counts dead edges.
    Raises `AzlibError` for an unknown benchmark and for damaged files.
    """
    if benchmark not in PLACES:
        raise unknown("place", benchmark, PLACES)
    place = PLACES[benchmark]
    if place.files is None:
        found = methods.read(task, NASBench201(), folder).values()
        return tuple(_of_first_seed(frame) for frame in found)
    return frames_of(place.files, folder)


@cache
def frames_of(files: str, folder: Path = COMMITTED) -> tuple[pd.DataFrame, ...]:
    """The scores under the first seed in the files whose names end on `files` after the group."""
    found = []
    for entry in manifest.entries(folder):
        if entry.file != f"{entry.group}_{files}":
            continue
        path, space = folder / f"{entry.file}.parquet", entry.search_space()
        frame = read(path)
        if read_settings(path).unique and isinstance(space, EnumerableSpace):
            archs = list(space) if entry.sample is None else sample(space, entry.sample)
            frame = expand(frame, space, archs)
        found.append(_of_first_seed(frame))
    return tuple(found)


def _of_first_seed(frame: pd.DataFrame) -> pd.DataFrame:
    timed = [name for name in frame if name.startswith("seconds")]
    return frame[frame["seed"] == SEED].set_index("arch").drop(columns=["seed", *timed])


def joined(parts: Iterable[pd.DataFrame], proxies: Sequence[str]) -> pd.DataFrame | None:
    """The proxies of all architectures that were scored by each; None if one was not scored."""
    parts, wanted = list(parts), list(dict.fromkeys(proxies))
    held: dict[int, list[str]] = {}
    for name in wanted:
        holder = next((i for i, frame in enumerate(parts) if name in frame), None)
        if holder is None:
            return None
        held.setdefault(holder, []).append(name)
    return reduce(_beside, (parts[i][names] for i, names in held.items()))[wanted]


def _beside(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The columns of both for the architectures that both have; quick where these are the same."""
    if first.index.equals(second.index):
        return first.assign(**second)
    return first.join(second, how="inner")


def aligned(table: pd.DataFrame, truth: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """The rows of a table that have an accuracy, and these accuracies in the same order."""
    if table.index.equals(truth.index):
        return table, truth
    at = truth.index.get_indexer(table.index)
    return table[at >= 0], truth.iloc[at[at >= 0]]


def truths(benchmarks: Iterable[str] = tuple(PLACES)) -> dict[tuple[str, str], pd.Series]:
    """The accuracies of every (benchmark, task), higher is better.

    Raises `AzlibError` where one cannot be had, with the command that fetches it.
    """
    found: dict[tuple[str, str], pd.Series] = {}
    for name in benchmarks:
        table = ground_truth(name)
        found |= {(name, task): table[task].dropna() for task in PLACES[name].tasks}
    return found


def once_each(accuracy: Mapping[tuple[str, str], pd.Series]) -> dict[tuple[str, str], pd.Series]:
    """Accuracies of the canonical architectures alone: each network counts once."""
    found = {}
    for (benchmark, task), truth in accuracy.items():
        space = spaces.get(str(named(benchmark).space))
        found[benchmark, task] = truth[[space.canonical(arch) == arch for arch in truth.index]]
    return found


def in_common(
    accuracy: Mapping[tuple[str, str], pd.Series],
    compared: Sequence[Method] = COMPARED,
    folder: Path = COMMITTED,
) -> dict[tuple[str, str], pd.Series]:
    """The accuracies of those architectures that all methods scored, but for any without scores.

    The first ten of 1,000 and of 15,625 architectures cannot be compared.
    """
    found = {}
    for (benchmark, task), truth in accuracy.items():
        parts = frames(benchmark, task, folder)
        for method in filter(None, (fitted(m, benchmark) for m in compared)):
            table = joined(parts, method.proxies)
            if table is not None:
                truth = truth[table.index.get_indexer(truth.index) >= 0]
        found[benchmark, task] = truth
    return found


def over_tasks(
    accuracy: Mapping[tuple[str, str], pd.Series],
    row: Callable[[Method, pd.DataFrame, pd.Series], dict[str, Any]],
    compared: Sequence[Method] = COMPARED,
    folder: Path = COMMITTED,
) -> pd.DataFrame:
    """A row for each method and task where the method is defined.

    Args:
        accuracy: by (benchmark, task), as `truths` gives it.
        row: what to measure, from a method, the proxies and the accuracies of the same
            architectures.
        compared: the methods.
        folder: of the score files.
    """
    rows = []
    for (benchmark, task), truth in accuracy.items():
        parts = frames(benchmark, task, folder)
        for method in filter(None, (fitted(m, benchmark) for m in compared)):
            table = joined(parts, method.proxies)
            if table is None:
                continue
            about = {"benchmark": benchmark, "task": task, "method": method.name}
            rows.append(about | row(method, *aligned(table, truth)))
    return pd.DataFrame(rows)
