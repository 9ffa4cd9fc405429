"""The commands that search: `search` and `searches`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from azlib.cli.options import (
    ExecutionOptions,
    ImportOptions,
    ScoreOptions,
    SpaceOptions,
    expanded,
)
from azlib.cli.state import keeping
from azlib.errors import unknown


@dataclass(frozen=True)
class SearchOptions:
    """What a search does: rule, length, scores."""

    rule: Annotated[
        str | None, typer.Option(help="algorithm-1 or random (default: the space's)")
    ] = None
    iterations: Annotated[int, typer.Option(help="accepted candidates")] = 2000
    population: Annotated[
        int | None,
        typer.Option(help="candidates that may be parents (default: 1 % of the iterations)"),
    ] = None
    generation: Annotated[
        int, typer.Option(help="candidates that Algorithm 1 proposes at once")
    ] = 1
    seed: Annotated[int, typer.Option(help="seed of the search and its scores")] = 123
    preset: Annotated[
        str | None, typer.Option(help="paper or cpu (default: cpu on a CPU if the space has it)")
    ] = None
    proxies: Annotated[
        str | None, typer.Option(help="az, an assembly, or names joined by commas")
    ] = None
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="log of another budget whose scores to take over; repeatable"),
    ] = None


@expanded
def search(
    out: Annotated[Path, typer.Option(help="Parquet file of the log; a .json lies beside it")],
    where: SpaceOptions,
    what: SearchOptions,
    how: ScoreOptions,
    run: ExecutionOptions,
    code: ImportOptions,
) -> None:
    """Search a space by Algorithm 1 or at random; run again to continue a stopped search."""
    from azlib import search as searching

    code.load()
    space = where.get("mobilenetv2")
    rule_name = space.rule if what.rule is None else what.rule
    if rule_name not in ("algorithm-1", "random"):
        raise unknown("rule", rule_name, ("algorithm-1", "random"))
    rule: searching.Rule = searching.RandomSearch()
    if rule_name == "algorithm-1":
        population = what.population
        if population is None:
            population = searching.population_of(what.iterations)
        rule = searching.Algorithm1(population, what.generation)
    live = searching.Live.at(space, what.preset, what.seed, proxies=what.proxies, **how.changes())
    workers = 1 if run.workers is None else run.workers
    execution = ExecutionOptions(workers, run.scheduler, run.quiet).execution()
    with keeping(f"the candidates so far are kept in {out}, the same command continues"):
        result = searching.search(
            space,
            rule,
            live,
            iterations=what.iterations,
            seed=what.seed,
            out=out,
            reuse=what.reuse or (),
            execution=execution,
        )
    typer.echo(f"{result.structure}\nwrote {out}")


@expanded
def searches(
    run: ExecutionOptions,
    files: Annotated[
        list[str] | None, typer.Argument(help="search logs by name (default: all of them)")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="folder of the manifest and the logs")] = None,
) -> None:
    """Repeat the searches of the manifest; logs that are complete stay as they are."""
    from azlib.search import manifest

    folder = manifest.COMMITTED if folder is None else folder
    for entry in manifest.chosen(files or [], folder):
        log = folder / f"{entry.file}.parquet"
        with keeping(f"the candidates so far are kept in {log}, the same command continues"):
            entry.make(folder, run.execution())
        typer.echo(f"{log} is complete")
