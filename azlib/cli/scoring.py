"""The commands that score: `sweep`, `scores` and `check-scores`."""

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
from azlib.cli.text import read_lines, read_seeds
from azlib.errors import AzlibError


@dataclass(frozen=True)
class WhichOptions:
    """Which architectures a sweep scores, and with which seeds."""

    seed: Annotated[str, typer.Option(help="seeds: 1 or 1,2,3 or 1-5")] = "1"
    archs: Annotated[
        Path | None, typer.Option(help="text file, one architecture a line (default: all)")
    ] = None
    sample: Annotated[
        int | None, typer.Option(help="only so many random architectures (always the same)")
    ] = None
    unique: Annotated[bool, typer.Option(help="score networks that are the same once")] = False
    chunk: Annotated[int, typer.Option(help="architectures per task and part file")] = 32


@expanded
def sweep(
    out: Annotated[Path, typer.Option(help="Parquet file to write")],
    where: SpaceOptions,
    which: WhichOptions,
    how: ScoreOptions,
    run: ExecutionOptions,
    code: ImportOptions,
    proxies: Annotated[
        str | None, typer.Option(help="az, an assembly, or names joined by commas")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="batch and pixels: paper, or quick or cpu if the space has it")
    ] = "paper",
) -> None:
    """Score many architectures; run the same command again to continue a stopped sweep."""
    from azlib import scoring
    from azlib.proxies import names
    from azlib.settings import ScoreSettings

    code.load()
    space = where.get("nasbench201")
    chosen = None if proxies is None else tuple(names(proxies))
    settings = ScoreSettings.for_space(space, preset, proxies=chosen, **how.changes())
    archs = None if which.archs is None else read_lines(which.archs)
    if which.sample is not None:
        archs = scoring.sample(space, which.sample, archs)
    with keeping(f"finished parts are kept in {out}.parts, the same command continues"):
        path = scoring.sweep(
            space,
            out,
            settings,
            seeds=read_seeds(which.seed),
            archs=archs,
            unique=which.unique,
            execution=run.execution(chunk=which.chunk),
        )
    typer.echo(f"wrote {path}")


@expanded
def scores(
    run: ExecutionOptions,
    files: Annotated[
        list[str] | None, typer.Argument(help="score files by name (default: all of them)")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="folder of the manifest and the files")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="say what there is, score nothing")] = False,
) -> None:
    """Make the score files of the manifest; files that are complete stay as they are."""
    from azlib.scoring import manifest
    from azlib.scoring.files import COMMITTED

    folder = COMMITTED if folder is None else folder
    if show:
        for entry in manifest.entries(folder):
            state = "there" if (folder / f"{entry.file}.parquet").exists() else "missing"
            typer.echo(f"{entry.file} ({state}): {entry.about}")
        return
    for entry in manifest.chosen(files or [], folder):
        parts = folder / f"{entry.file}.parquet.parts"
        with keeping(f"finished parts are kept in {parts}, the same command continues"):
            path = entry.make(folder, run.execution(chunk=entry.chunk), _trained)
        typer.echo(f"{path} is complete")


def _trained(benchmark: str) -> list[str]:
    """The architectures that a benchmark trained, fetched if need be."""
    from azlib.companion.data import ground_truth

    return list(ground_truth(benchmark).index)


@expanded
def check_scores(
    files: Annotated[list[Path], typer.Argument(help="score files")],
    code: ImportOptions,
    count: Annotated[int, typer.Option(help="rows to recompute in each file")] = 5,
    seed: Annotated[int, typer.Option(help="seed of the choice of rows")] = 0,
    tolerance: Annotated[float, typer.Option(help="largest relative difference")] = 1e-3,
    space: Annotated[
        str | None, typer.Option(help="your own search space, if the scores are of one")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu or cuda, wherever the file was made; round-off differs")
    ] = "cpu",
) -> None:
    """Recompute a random handful of scores and compare."""
    from azlib import spaces
    from azlib.scoring import recompute

    if not tolerance >= 0:
        raise AzlibError(f"tolerance={tolerance}: expected 0 or more")
    code.load()
    given = None if space is None else spaces.get(space)
    for path in files:
        rows, difference = recompute(path, count, seed, given, device=device)
        typer.echo(f"{path}: {rows} rows recomputed, largest relative difference {difference:.1e}")
        if not difference <= tolerance:
            raise AzlibError(f"{path} differs from this code by more than {tolerance:g}")
