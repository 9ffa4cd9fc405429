"""The commands of the paper companion: `run`, and `benchmark` with its sub-commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azlib.cli.text import read_values

benchmark = typer.Typer(help="The ground truth: look at it, export it.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(
        help="analog-nasbench (built in), a NAS-Bench-201 .pth, a NATS-Bench folder, or a CSV"
    ),
]


def run(
    notebook: Annotated[Path, typer.Argument(help="notebook to execute")],
    output: Annotated[Path, typer.Argument(help="executed copy to write")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value, repeatable")
    ] = None,
) -> None:
    """Execute a copy of a notebook with other parameters."""
    from azlib.companion.notebooks import run as execute

    typer.echo(f"wrote {execute(notebook, output, read_values(parameter))}")


@benchmark.command("info")
def info(source: Source = "analog-nasbench") -> None:
    """Say what a ground truth holds."""
    from azlib.companion import benchmarks

    table = benchmarks.info(source)
    for key, value in table.attrs.items():
        typer.echo(f"{key}: {value}")
    typer.echo(table.to_string())


@benchmark.command("export")
def export(source: Source, out: Annotated[Path, typer.Argument(help="CSV file to write")]) -> None:
    """Write a ground truth as a CSV that loads in under a second."""
    from azlib.companion import benchmarks

    benchmarks.export(source, out)
    typer.echo(f"wrote {out}")
