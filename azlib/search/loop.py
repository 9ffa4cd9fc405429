"""The search loop: propose, score, log, until there are enough candidates.

Illegal candidates are dropped without counting. The others join the history, which is ranked as a
whole by Σ ln(rank / n) (Eq. 12); the winner is the best of all candidates, the earliest if tied.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from azlib.aggregation import AZ_NAS, IncrementalRanking
from azlib.errors import AzlibError, out_of_memory, reason, unknown
from azlib.files import check_writable
from azlib.scoring import Execution
from azlib.search import log as logs
from azlib.search.history import COSTS, History
from azlib.search.rules import Draw, Rule
from azlib.search.scorers import Live, Scorer, members
from azlib.settings import check_at_least, check_seed
from azlib.spaces.base import SearchSpace, check_space
from azlib.spaces.own import Asked

TRIES = 10_000  # illegal candidates in a row that end a search
MOST_ITERATIONS = 10_000_000  # a hundred of the paper's searches; the history is held in memory


class Result(NamedTuple):
    """The found structure, the log of all candidates, and what the JSON file says of both."""

    structure: str
    log: pd.DataFrame
    summary: dict[str, Any]


@dataclass(frozen=True)
class _Search:
    """What stays the same from the first step to the last."""

    space: SearchSpace
    rule: Rule
    score: Scorer
    seed: int
    settings: dict[str, Any]


def search(
    space: SearchSpace,
    rule: Rule,
    score: Scorer | None = None,
    *,
    iterations: int,
    seed: int = 123,
    out: str | Path | None = None,
    reuse: Iterable[str | Path] = (),
    execution: Execution | None = None,
) -> Result:
    """Searches a space for the architecture with the highest aggregated score.

    Args:
        space: the search space; its `legal` says what is within the budgets.
        rule: `Algorithm1`, `RandomSearch` or `RegularisedEvolution`.
        score: a function from an architecture to its scores, higher being better (see
            `azlib.search.scorers`); by default `Live(space, seed)`.
        iterations: accepted candidates, duplicates included. A duplicate is not scored again, where
            the published code draws new weights.
        seed: of the search.
        out: Parquet file of the log, saved now and then, and continued when it exists. Its columns
            are `step`, `structure`, one for each proxy, `macs`, `params` and `seconds` (processor
            time of the score). A JSON file beside it describes the found structure.
        reuse: logs of searches with other budgets whose scores are taken over.
        execution: how many processes, or which cluster; by default this process alone. Only a rule
            whose generation is larger than 1 keeps several processes busy.

    Returns:
        The found structure, the log and a summary. A candidate that cannot be scored has NaN
        scores, which rank last.

    Raises:
        AzlibError: when the first candidate fails, when none is legal, when memory runs out, when
            `out` holds another search or cannot be written, and when a log in `reuse` was scored in
            another way.
    """
    check_space(space)
    score = Live(space, seed) if score is None else score
    execution = Execution(workers=1) if execution is None else execution
    out = None if out is None else Path(out)
    ranked = members(score)
    _check(rule, iterations, seed)
    settings = _described(space, rule, score, seed)
    history = History(ranked, rule.selected, iterations)
    held = [] if out is None else logs.continued(out, settings, iterations, space)
    if out and len(held) < iterations:
        check_writable(out)  # now, and not after a night
    for row in held[: len(held) - len(held) % rule.generation]:
        history.append(row)
    known = logs.scored_elsewhere(reuse, settings)
    known |= {row["structure"]: row for row in reversed(held)}  # the first row of each structure
    task = _Search(cast(SearchSpace, Asked(space)), rule, score, seed, settings)
    try:
        _fill(history, known, task, iterations, out, execution)
    finally:
        if out and history.failed < len(history) > len(held):
            logs.save(out, history, settings)
    return _finish(history, settings, out, new=len(history) > len(held))


def _described(space: SearchSpace, rule: Rule, score: Scorer, seed: int) -> dict[str, Any]:
    """What a log says of its search, and what has to be the same for it to be continued."""
    parts = {name: logs.describe(part) for name, part in
             (("rule", rule), ("space", space), ("score", score))}  # fmt: skip
    return logs.as_json(parts | {"proxies": members(score), "seed": seed})


def _check(rule: Rule, iterations: int, seed: int) -> None:
    check_at_least(1, iterations=iterations)
    check_seed(seed)
    if iterations > MOST_ITERATIONS:
        raise AzlibError(f"iterations={iterations}: expected at most {MOST_ITERATIONS:,}")
    if rule.shortest > iterations:
        raise AzlibError(
            f"population={rule.shortest} is larger than iterations={iterations}: selection "
            "would never begin; lower the one or raise the other"
        )


def _fill(
    history: History,
    known: dict[str, logs.Row],
    task: _Search,
    iterations: int,
    out: Path | None,
    execution: Execution,
) -> None:
    """Adds candidates to the history until there are enough, and saves it now and then."""
    saved = time.monotonic()
    bar = tqdm(
        total=iterations,
        desc=task.space.name,
        unit="arch",
        initial=len(history),
        disable=not execution.progress,
        mininterval=2,  # seconds: the aggregate beside it ranks the whole history
    )
    try:
        with bar, _pool(task.score, execution) as pool:
            while (n := len(history)) < iterations:
                steps = range(n, min(n + task.rule.generation, iterations))
                _extend(history, known, task, steps, pool.map if pool else map)
                if out and time.monotonic() - saved >= execution.checkpoint:
                    logs.save(out, history, task.settings)
                    saved = time.monotonic()
                if bar.update(len(steps)):
                    _show(bar, history)
            _show(bar, history)
    except KeyboardInterrupt:
        raise AzlibError("stopped; run the same search again to continue") from None
    except BrokenProcessPool as error:
        raise AzlibError(
            "a worker process died (killed, out of memory: lower batch, resolution or workers, or "
            "started by a script without `if __name__ == '__main__':`); run the same search again "
            "to continue"
        ) from error


def _show(bar: tqdm, history: History) -> None:
    best = history.ranking.best()
    macs, total = history.rows[best]["macs"], history.aggregate()[best]
    bar.set_postfix(best=str(best), macs=f"{macs / 1e6:.1f}M", score=f"{total:.3f}")


def _extend(
    history: History,
    known: dict[str, logs.Row],
    task: _Search,
    steps: range,
    run: Callable,
) -> None:
    """Adds one generation: proposed from the same history, each new structure scored once."""
    space, draw = task.space, task.rule.proposals(task.space, history)
    children = [_propose(space, draw, np.random.default_rng([task.seed, step])) for step in steps]
    fresh = [child for child in dict.fromkeys(children) if child not in known]
    scored = iter(run(partial(_score, task.score, history.proxies), fresh))
    failures = []
    for step, child in zip(steps, children, strict=True):
        if child not in known:
            scores, failure = next(scored)
            counted = space.count(child)
            cost = {name: float(counted[name]) for name in ("macs", "params")}
            known[child] = {"step": step, "structure": child, **scores, **cost}
            failures += [f"step {step}: {child}: {failure}"] if failure else []
        row = known[child]
        if row["step"] is None:  # new here, though scored in another search
            known[child] = row = {**row, "step": step}
        history.append(row if row["step"] == step else {**row, "step": step, "seconds": 0.0})
    if steps.start == 0 and failures and len(failures) == len(fresh):
        raise AzlibError(f"no candidate could be scored: {failures[0]}")  # wrong settings
    for failure in failures:
        tqdm.write(f"{failure}; its scores are NaN and rank last", file=sys.stderr)


def _propose(space: SearchSpace, draw: Draw, rng: np.random.Generator) -> str:
    for _ in range(TRIES):
        if space.legal(child := draw(rng)):
            return child
    raise AzlibError(
        f"{TRIES:,} candidates in a row were illegal, the last {child!r}: raise a limit of {space}"
    )


def _score(score: Scorer, proxies: Sequence[str], arch: str) -> tuple[dict[str, float], str | None]:
    """Scores and processor seconds of one candidate, NaN if it failed, and then what happened."""
    start, failure = time.process_time(), None
    try:
        scores = dict(score(arch))
    except Exception as error:  # one bad candidate must not end a night's search
        if out_of_memory(error):
            raise AzlibError(
                f"out of memory on {arch!r}: lower batch, resolution or workers"
            ) from error
        scores, failure = dict.fromkeys(proxies, math.nan), reason(error)
    seconds = time.process_time() - start
    for name in proxies:
        if name not in scores:
            raise unknown("score", name, scores)
    return {**{name: float(scores[name]) for name in proxies}, "seconds": seconds}, failure


@contextmanager
def _pool(score: Scorer, execution: Execution) -> Iterator[Executor | None]:
    """Where candidates are scored; None is this process."""
    if execution.scheduler is None and execution.workers == 1:
        yield None
        return
    execution.check_sent("the score function", score)
    with execution.executor() as pool:
        yield pool


def _finish(history: History, settings: dict, out: Path | None, new: bool) -> Result:
    log = pd.DataFrame(history.rows, columns=["step", "structure", *history.proxies, *COSTS])
    row = history.rows[history.ranking.best()]
    if out and not new:
        said = logs.described(out.with_suffix(".json"), row, log, settings)
        if said:  # a finished search: its files stay
            return Result(row["structure"], log, said)
    summary = logs.summarise(history, log, settings)
    if out:
        logs.write_summary(out.with_suffix(".json"), summary)
    return Result(row["structure"], log, summary)


def incumbents(log: pd.DataFrame, proxies: Sequence[str] = AZ_NAS) -> NDArray[np.intp]:
    """The winner after each step of a log, as its position in the log."""
    ranking, positions = IncrementalRanking(proxies, 1), []
    for row in log[list(dict.fromkeys(proxies))].to_dict("records"):
        ranking.append(row)
        positions.append(ranking.best())
    return np.array(positions, dtype=np.intp)
