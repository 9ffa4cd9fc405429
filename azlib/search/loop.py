"""Architecture search: Algorithm 1 of the paper, random search, regularised evolution.

A search is a rule that proposes candidates from the history, and a score of each. Illegal
candidates are dropped without counting; the others join the history, which is ranked as a whole
by Σ ln(rank / n) (Eq. 12); the winner is the best of all its candidates, the earliest if tied.

The randomness of a step comes from (seed, step) alone, and a score from the architecture and the
scorer's settings. So a log is a complete checkpoint: a killed search that runs again takes the
same path, and the number of processes or machines changes nothing.
"""

from __future__ import annotations

import json
import math
import pickle
import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from azlib.aggregation import AZ_NAS, IncrementalRanking, aggregate
from azlib.errors import AzlibError, unknown
from azlib.files import differences, replacing
from azlib.scoring.scores import Settings
from azlib.scoring.sweep import cpu_name, executor, keep_freed_memory, score_architecture

START = 11  # candidates of Algorithm 1 that descend from the initial structure
TRIES = 10_000  # illegal candidates in a row that end a search
COSTS = ("macs", "params", "seconds")  # the log's columns after the scores
METADATA_KEY = b"azlib.search"  # where the settings stand in the Parquet metadata

Draw = Callable[[np.random.Generator], str]


def share(iterations: int) -> int:
    """The population of Algorithm 1 as the paper's share, 1,024 of 100,000; at least 2."""
    return max(2, round(iterations * 1024 / 100_000))


class Result(NamedTuple):
    """The found structure, the log of all candidates, and what the JSON file says of both."""

    structure: str
    log: pd.DataFrame
    summary: dict[str, Any]


class History:
    """All accepted candidates of a search, in order, and their ranking.

    members: the proxies that the ranking sums; one that stands twice weighs twice. `proxies` are
    the same, each once. `rows` holds the log's rows, `values` their scores, (iterations, proxies).
    """

    def __init__(self, members: Sequence[str], selected: int, iterations: int):
        self.members, self.proxies = tuple(members), tuple(dict.fromkeys(members))
        if taken := {"step", "structure", *COSTS} & {*members}:
            raise AzlibError(f"the log has columns {sorted(taken)} of its own: rename the scores")
        self.rows: list[dict[str, Any]] = []
        self.failed = 0  # how many have no score at all
        self.values = np.empty((iterations, len(self.proxies)))
        self.ranking = IncrementalRanking(self.members, selected)

    def __len__(self) -> int:
        return len(self.rows)

    def append(self, row: dict[str, Any]) -> None:
        values = [row[name] for name in self.proxies]
        self.values[len(self)] = values
        self.failed += all(map(math.isnan, values))
        self.ranking.append(row)
        self.rows.append(row)

    def aggregate(self, begin: int = 0) -> NDArray[np.float64]:
        """The aggregated scores of the candidates from `begin` on, ranked among themselves."""
        columns = dict(zip(self.proxies, self.values[begin : len(self)].T, strict=True))
        return aggregate(columns, proxies=self.members).to_numpy()


# --- rules: from a history, how to draw the next candidates --------------------------------


@dataclass(frozen=True)
class Algorithm1:
    """The paper's evolutionary search, with the published code's three phases.

    With n candidates in the history: the first 11 are one mutation from the space's `initial`
    structure (random samples where it has none); the next are two mutations from any candidate;
    from n = population - 1, two mutations from one of the `population` - 1 best.
    """

    population: int = 1024

    def __post_init__(self):
        if self.population < 2:
            raise AzlibError(f"population={self.population}: Algorithm 1 needs at least 2")

    @property
    def selected(self) -> int:
        return self.population - 1

    def proposals(self, space: Any, history: History) -> Draw:
        n = len(history)
        if n < START:
            if not hasattr(space, "initial"):
                return space.sample
            return lambda rng: space.mutate(space.initial, rng, times=1)
        parents = history.ranking.top() if n >= self.selected else range(n)

        def draw(rng: np.random.Generator) -> str:
            parent = history.rows[parents[rng.integers(len(parents))]]
            return space.mutate(parent["structure"], rng, times=2)

        return draw


@dataclass(frozen=True)
class RandomSearch:
    """Independent samples, as in the paper's search of the AutoFormer space."""

    selected: ClassVar[int] = 1

    def proposals(self, space: Any, history: History) -> Draw:
        return space.sample


@dataclass(frozen=True)
class RegularisedEvolution:
    """Ageing evolution (Real et al., AAAI 2019): the last `population` candidates are alive.

    They start as random samples; then a child is one mutation from the fittest of `tournament`
    living candidates, drawn with replacement. Fitness is the aggregated score among the living,
    which with one proxy orders them as the proxy does.
    """

    population: int = 100
    tournament: int = 25
    selected: ClassVar[int] = 1

    def __post_init__(self):
        if self.population < 1 or self.tournament < 1:
            raise AzlibError(
                f"population={self.population}, tournament={self.tournament}: "
                "both must be at least 1"
            )

    def proposals(self, space: Any, history: History) -> Draw:
        oldest = len(history) - self.population
        if oldest < 0:
            return space.sample
        fitness = history.aggregate(oldest)

        def draw(rng: np.random.Generator) -> str:
            players = rng.integers(self.population, size=self.tournament)
            parent = oldest + players[np.argmax(fitness[players])]
            return space.mutate(history.rows[parent]["structure"], rng)

        return draw


# --- scores --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Live:
    """A function from an architecture to its scores that builds the network and probes it.

    batch, resolution: of the Gaussian input (default: the space's own resolution); costs are the
    space's either way. init, train: see `weights.initialise` and `proxies.score` (default: `init`
    and `train` of the space, or else as the paper scores CNNs). Runs on one thread.
    """

    space: Any
    proxies: tuple[str, ...] = AZ_NAS
    seed: int = 123
    batch: int = 64
    resolution: int | None = None
    init: str | None = None
    train: bool | None = None
    device: str = "cpu"

    def __post_init__(self):
        from azlib.proxies import check_settings, names

        names(self.proxies)
        for field, default in (
            ("resolution", self.space.input_shape[-1]),
            ("init", getattr(self.space, "init", "kaiming_norm_fanin")),
            ("train", getattr(self.space, "train", True)),
        ):
            if getattr(self, field) is None:  # settled here, so that a log says what it was
                object.__setattr__(self, field, default)
        check_settings(self.init, self.device, (self.batch, 3, self.resolution, self.resolution))

    @classmethod
    def at(
        cls, space: Any, preset: str | None = None, seed: int = 123, device: str = "cpu"
    ) -> Live:
        """The proxies of a space at one of its `presets`, a batch and a resolution by name.

        "paper" is the paper's setting, "cpu" a cheaper one (notebook 14). Default: "cpu" on a CPU
        where the space has it. Raises `AzlibError` for an unknown preset.
        """
        presets = getattr(space, "presets", {"paper": (64, None)})
        if preset is None:
            preset = "cpu" if device == "cpu" and "cpu" in presets else "paper"
        if preset not in presets:
            raise unknown(f"preset of {space.name}", preset, presets)
        batch, resolution = presets[preset]
        proxies = getattr(space, "proxies", AZ_NAS)
        return cls(space, proxies, seed, batch, resolution, device=device)

    def __call__(self, arch: str) -> dict[str, float]:
        import torch  # here, so that a search among known scores loads no torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        keep_freed_memory()
        try:
            how = {"init": self.init, "train": self.train, "device": self.device}
            settings = Settings(
                self.space.name, tuple(self.proxies), self.batch, self.resolution, **how
            )
            return score_architecture(self.space, arch, self.seed, settings)
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class Count:
    """A function from an architecture to one of its costs: a search that builds no network.

    name: a key of `space.count`, such as "macs" or "params".
    """

    space: Any
    name: str = "macs"
    proxies: ClassVar[tuple[str, ...]] = ("count",)

    def __call__(self, arch: str) -> dict[str, float]:
        return {"count": self.space.count(arch)[self.name]}


def _score(
    score: Callable[[str], Mapping[str, float]], proxies: Sequence[str], arch: str
) -> tuple[dict[str, float], str | None]:
    """Scores and CPU seconds of one candidate, NaN if it failed, and then what happened."""
    start, failure = time.process_time(), None
    try:
        scores = score(arch)
    except Exception as error:  # one bad candidate must not end a night's search
        if isinstance(error, MemoryError) or re.search("(out of|allocate) memory", str(error)):
            raise AzlibError(
                f"out of memory on {arch!r}: lower batch, resolution or workers"
            ) from error
        scores, failure = dict.fromkeys(proxies, math.nan), f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    for name in proxies:
        if name not in scores:
            raise unknown("score", name, scores)
    return {**{name: float(scores[name]) for name in proxies}, "seconds": seconds}, failure


# --- the loop ------------------------------------------------------------------------------


def search(
    space: Any,
    rule: Algorithm1 | RandomSearch | RegularisedEvolution,
    score: Callable[[str], Mapping[str, float]] | None = None,
    *,
    iterations: int,
    seed: int = 123,
    proxies: str | Iterable[str] | None = None,
    generation: int = 1,
    workers: int = 1,
    scheduler: str | None = None,
    out: str | Path | None = None,
    reuse: Iterable[str | Path] = (),
    checkpoint: float = 60.0,
    progress: bool = True,
) -> Result:
    """Searches a space for the architecture with the highest aggregated score.

    space: see `azlib.spaces`; its `legal` says what is within the budgets. score: a function from
    an architecture to its scores, higher being better; default: `Live(space, proxies, seed)`.
    proxies: the scores that are ranked, one that stands twice with twice the weight, or the name of
    an assembly (default: `proxies` of `score` or of `space`, else the four of AZ-NAS).
    iterations: accepted candidates, duplicates included: a duplicate is not scored again, where
    the published code draws new weights. generation: candidates that are proposed from the same
    history and scored together; 1 is as published, and only more can use several `workers`
    (processes; 1: this one) or a Dask `scheduler` (`tcp://...`).
    out: Parquet file of the log, saved every `checkpoint` seconds and continued when it exists;
    columns `step`, `structure`, one per proxy, `macs`, `params`, `seconds` (CPU time of the
    score). A JSON file beside it describes the found structure.

    A candidate that cannot be scored gets NaN, which ranks last. Raises `AzlibError` when the first
    fails, when none is legal, when memory runs out, when `out` holds another search, and when a log
    in `reuse` was scored in another way.
    """
    if proxies is None:
        proxies = getattr(score, "proxies", getattr(space, "proxies", AZ_NAS))
    if isinstance(proxies, str):
        from azlib.proxies import members

        proxies = members(proxies)
    proxies = tuple(proxies)
    score = Live(space, tuple(dict.fromkeys(proxies)), seed) if score is None else score
    out = None if out is None else Path(out)
    for name, value, least in (
        ("iterations", iterations, 1),
        ("generation", generation, 1),
        ("workers", workers, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise AzlibError(f"{name}={value}: expected at least {least}")
    if getattr(rule, "population", 1) > iterations:
        raise AzlibError(
            f"population={rule.population} is larger than iterations={iterations}: selection would "
            "never begin; lower the one or raise the other"
        )
    settings = {
        "rule": _describe(rule),
        "space": _describe(space),
        "score": _describe(score),
        "proxies": proxies,
        "seed": seed,
        # A random search asks no history, so it is the same for any generation.
        "generation": 1 if isinstance(rule, RandomSearch) else generation,
    }
    settings = json.loads(json.dumps(settings, default=str))

    history = History(proxies, rule.selected, iterations)
    held = [] if out is None else _load(out, settings, iterations)
    for row in held[: len(held) - len(held) % generation]:
        history.append(row)
    known = _scored_elsewhere(reuse, settings)
    known |= {row["structure"]: row for row in reversed(held)}  # the first row of each structure

    bar = tqdm(
        total=iterations,
        desc=space.name,
        unit="arch",
        initial=len(history),
        disable=not progress,
        mininterval=2,  # seconds: the aggregate beside it ranks the whole history
    )
    saved = time.monotonic()
    with bar, _pool(score, workers, scheduler) as pool:
        try:
            while (n := len(history)) < iterations:
                steps = range(n, min(n + generation, iterations))
                _extend(history, known, space, rule, score, seed, steps, pool.map if pool else map)
                if out and time.monotonic() - saved >= checkpoint:
                    _save(out, history, settings)
                    saved = time.monotonic()
                if bar.update(len(steps)):
                    best = history.ranking.best()
                    macs, total = history.rows[best]["macs"], history.aggregate()[best]
                    bar.set_postfix(best=str(best), macs=f"{macs / 1e6:.1f}M", score=f"{total:.3f}")
        except KeyboardInterrupt:
            raise AzlibError("stopped; run the same search again to continue") from None
        except BrokenProcessPool as error:
            raise AzlibError(
                "a worker process died (killed, or out of memory: lower batch, resolution or "
                "workers); run the same search again to continue"
            ) from error
        finally:
            if out and history.failed < len(history) > len(held):
                _save(out, history, settings)
    return _finish(history, settings, out, new=len(history) > len(held))


def incumbents(log: pd.DataFrame, proxies: Sequence[str] = AZ_NAS) -> NDArray[np.intp]:
    """The winner after each step of a log, as its position in the log."""
    ranking, positions = IncrementalRanking(proxies, 1), []
    for row in log[list(dict.fromkeys(proxies))].to_dict("records"):
        ranking.append(row)
        positions.append(ranking.best())
    return np.array(positions, dtype=np.intp)


def _extend(
    history: History,
    known: dict[str, dict[str, Any]],
    space: Any,
    rule: Any,
    score: Callable,
    seed: int,
    steps: range,
    run: Callable,
) -> None:
    """Adds one generation: proposed from the same history, each new structure scored once."""
    draw = rule.proposals(space, history)
    children = [_propose(space, draw, np.random.default_rng([seed, step])) for step in steps]
    fresh = [child for child in dict.fromkeys(children) if child not in known]
    scored = iter(run(partial(_score, score, history.proxies), fresh))
    failures = []
    for step, child in zip(steps, children, strict=True):
        if child not in known:
            scores, failure = next(scored)
            cost = {name: float(space.count(child)[name]) for name in ("macs", "params")}
            known[child] = {"step": step, "structure": child, **scores, **cost}
            failures += [f"step {step}: {child}: {failure}"] if failure else []
        row = known[child]
        if row["step"] is None:  # new here, though scored in another search
            known[child] = row = {**row, "step": step}
        history.append(row if row["step"] == step else {**row, "step": step, "seconds": 0.0})
    if steps.start == 0 and failures and len(failures) == len(fresh):
        raise AzlibError(f"no candidate could be scored: {failures[0]}")  # wrong settings
    for failure in failures:
        tqdm.write(f"{failure}; its scores are NaN and rank last")


def _propose(space: Any, draw: Draw, rng: np.random.Generator) -> str:
    for _ in range(TRIES):
        if space.legal(child := draw(rng)):
            return child
    raise AzlibError(
        f"{TRIES:,} candidates in a row were illegal, the last {child!r}: raise a limit of {space}"
    )


def _pool(score: Callable, workers: int, scheduler: str | None) -> AbstractContextManager:
    """Where candidates are scored; None is this process."""
    if scheduler is None and workers == 1:
        return nullcontext()
    if scheduler is None:
        try:
            pickle.dumps(score)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise AzlibError(
                f"the score function cannot be sent to processes ({error}): use workers=1, or a "
                "function defined in a module"
            ) from None
    return executor(scheduler, workers)


# --- files ---------------------------------------------------------------------------------


def _describe(thing: Any) -> dict[str, Any]:
    """A rule, a space or a scorer as its name and fields, to tell one search from another."""
    fields = asdict(thing) if is_dataclass(thing) else {}
    return {"name": getattr(thing, "name", type(thing).__name__), **fields}


def _load(out: Path, settings: dict, iterations: int) -> list[dict[str, Any]]:
    """The rows of a log of the same search; none if there is no log."""
    if out.suffix != ".parquet":
        raise AzlibError(f"out={str(out)!r}: expected a name that ends in .parquet")
    if not out.exists():
        return []
    table, held = _read(out)
    if held != settings:
        raise AzlibError(
            f"{out} holds another search: {differences(held, settings)}; choose another output"
        )
    if len(table) > iterations:
        raise AzlibError(
            f"{out} holds {len(table)} candidates, more than iterations={iterations}: "
            "give at least as many, or choose another output"
        )
    return table.to_pandas().to_dict("records")


def _scored_elsewhere(logs: Iterable[str | Path], settings: dict) -> dict[str, dict[str, Any]]:
    """The rows of other searches by structure, their step left out."""

    def scoring(settings: dict) -> dict:
        score = settings["score"]
        space = {k: v for k, v in score.get("space", {}).items() if k != "budget"}
        return {"proxies": settings["proxies"], **score, "space": space}

    known = {}
    for path in map(Path, logs):
        if not path.exists():
            raise AzlibError(f"no search log {path} to reuse")
        table, theirs = _read(path)
        if scoring(theirs) != scoring(settings):
            what = differences(scoring(theirs), scoring(settings))
            raise AzlibError(f"{path} was scored in another way: {what}; do not reuse it")
        known |= {r["structure"]: {**r, "step": None} for r in reversed(table.to_pylist())}
    return known


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A log and its settings."""
    try:
        table = pq.read_table(path)
        return table, json.loads(table.schema.metadata[METADATA_KEY])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise AzlibError(
            f"{path} is not a search log, or is damaged: delete it or choose another output"
        ) from error


def _save(out: Path, history: History, settings: dict) -> None:
    """Writes the whole log anew, so that there is one file, valid at any time."""
    floats = [(name, pa.float64()) for name in (*history.proxies, *COSTS)]
    schema = pa.schema(
        [("step", pa.int64()), ("structure", pa.string()), *floats],
        metadata={METADATA_KEY: json.dumps(settings)},
    )
    table = pa.Table.from_pylist(history.rows, schema=schema)
    with replacing(out) as temporary:
        pq.write_table(table, temporary)


def _described(path: Path, row: dict, log: pd.DataFrame, settings: dict) -> dict | None:
    """What a JSON file says of a search, if it is about this log."""
    try:
        said = json.loads(path.read_text())
        held = said["structure"], said["candidates"], said["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if held == (row["structure"], len(log), settings) else None


def _finish(history: History, settings: dict, out: Path | None, new: bool) -> Result:
    log = pd.DataFrame(history.rows, columns=["step", "structure", *history.proxies, *COSTS])
    best = history.ranking.best()
    row = history.rows[best]
    description = out and out.with_suffix(".json")
    if out and not new and (summary := _described(description, row, log, settings)):
        return Result(row["structure"], log, summary)  # a finished search: its files stay
    summary = {
        "structure": row["structure"],
        "step": best,
        "aggregate": float(history.aggregate()[best]),
        "scores": {name: row[name] for name in history.proxies},
        "macs": row["macs"],
        "params": row["params"],
        "candidates": len(log),
        "distinct": int(log["structure"].nunique()),
        "failed": history.failed,
        "core_hours": float(log["seconds"].sum() / 3600),
        "settings": settings,
        "versions": {name: metadata.version(name) for name in ("azlib", "torch", "numpy")},
        "python": platform.python_version(),
        "cpu": cpu_name(),
    }
    if out:
        text = json.dumps(summary, indent=2) + "\n"
        with replacing(description) as temporary:
            temporary.write_text(text)
    return Result(row["structure"], log, summary)
