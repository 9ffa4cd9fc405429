"""The command `data`, which fetches the accuracies of benchmarks."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from azlib.cli.state import keeping
from azlib.errors import AzlibError


def data(
    names: Annotated[
        list[str] | None, typer.Argument(help="benchmarks by name (default: all of them)")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="say what there is, fetch nothing")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="only check that all is there and undamaged")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="folder of the files (default: AZLIB_CACHE, or the user's cache)"),
    ] = None,
) -> None:
    """Fetch the accuracies of benchmarks (5 MB), with their licences; what is there stays."""
    from azlib.companion.data import BENCHMARKS
    from azlib.companion.data.cache import folder
    from azlib.companion.data.truth import named

    if cache is not None:
        os.environ["AZLIB_CACHE"] = str(cache)
    chosen = [named(name) for name in names or BENCHMARKS]
    lacking = []
    typer.echo(f"in {folder()}:")
    with keeping(f"whole files are kept in {folder()}, the same command continues"):
        for benchmark in chosen:
            state = benchmark.state()
            if not (show or offline) and state != "there":
                benchmark.fetch()
                state = "fetched" if state == "missing" else "was damaged, fetched again"
            if state in ("missing", "damaged"):
                lacking.append(benchmark.name)
            typer.echo(f"{benchmark.name} ({state}): {benchmark.about}")
            for line in benchmark.sources():
                typer.echo(f"    {line}")
    if offline and lacking:
        into = f" --cache {shlex.quote(str(cache))}" if cache is not None else ""
        raise AzlibError(
            f"missing or damaged: {', '.join(lacking)}; fetch with "
            f"`azlib data {' '.join(lacking)}{into}`"
        )
