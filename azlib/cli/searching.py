"""The commands that search: `search` and `searches`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from azlib.cli.options import (
    ExecutionOptions,
    ImportOptions,
    ScoreOptions,
    SpaceOptions,
    expanded,
)
from azlib.cli.state import keeping
from azlib.errors import AzlibError, unknown
from azlib.spaces.base import SearchSpace

if TYPE_CHECKING:
    from azlib.search import Rule


@dataclass(frozen=True)
class SearchOptions:
    """What a search does: rule, length, scores."""

    rule: Annotated[
        str | None, typer.Option(help="algorithm-1 or random (default: the space's)")
    ] = None
    iterations: Annotated[int, typer.Option(help="accepted candidates")] = 2000
    population: Annotated[
        int | None,
        typer.Option(
            help="algorithm-1: candidates that may be parents (default: 1 % of the iterations)"
        ),
    ] = None
    generation: Annotated[
        int | None,
        typer.Option(help="algorithm-1: candidates that it proposes at once (default: 1)"),
    ] = None
    seed: Annotated[int, typer.Option(help="seed of the search and its scores")] = 123
    preset: Annotated[
        str | None,
        typer.Option(help="paper, quick or cpu (default: cpu on a CPU if the space has it)"),
    ] = None
    proxies: Annotated[
        str | None, typer.Option(help="az, an assembly, or names joined by commas")
    ] = None
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="log of another budget whose scores to take over; repeatable"),
    ] = None

    def get_rule(self, space: SearchSpace) -> Rule:
        """The rule that was asked for, or the space's. Refuses options that it would not read."""
        from azlib import search as searching

        name = space.rule if self.rule is None else self.rule
        if name == "random":
            for option in ("population", "generation"):
                if (value := getattr(self, option)) is not None:
                    raise AzlibError(
                        f"{option}={value}: the rule random has no {option}; leave it out, or give "
                        "--rule algorithm-1"
                    )
            return searching.RandomSearch()
        if name != "algorithm-1":
            raise unknown("rule", name, ("algorithm-1", "random"))
        if self.iterations < 2:
            raise AzlibError(
                f"iterations={self.iterations}: expected at least 2, which algorithm-1 needs to "
                "choose a parent"
            )
        population = self.population
        if population is None:
            population = searching.population_of(self.iterations)
        return searching.Algorithm1(population, 1 if self.generation is None else self.generation)


@dataclass(frozen=True)
class SearchExecutionOptions(ExecutionOptions):
    """How a search is carried out: in one process, as one candidate is proposed at a time."""

    workers: Annotated[
        int,
        typer.Option(
            help="processes of one thread each; more than 1 pays with --rule random, or with a "
            "--generation above 1"
        ),
    ] = 1


@expanded
def search(
    out: Annotated[Path, typer.Option(help="Parquet file of the log; a .json lies beside it")],
    where: SpaceOptions,
    what: SearchOptions,
    how: ScoreOptions,
    run: SearchExecutionOptions,
    code: ImportOptions,
) -> None:
    """Search a space by Algorithm 1 or at random; run again to continue a stopped search."""
    from azlib import search as searching

    code.load()
    space = where.get("mobilenetv2")
    rule = what.get_rule(space)
    live = searching.Live.at(space, what.preset, what.seed, proxies=what.proxies, **how.changes())
    with keeping(f"the candidates so far are kept in {out}, the same command continues"):
        result = searching.search(
            space,
            rule,
            live,
            iterations=what.iterations,
            seed=what.seed,
            out=out,
            reuse=what.reuse or (),
            execution=run.execution(),
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
