"""The commands of the paper companion: `figures`, `report`, `run`, and `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azlib.cli.state import keeping
from azlib.cli.text import read_values

benchmark = typer.Typer(help="The ground truth: look at it, export it.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(
        help="analog-nasbench (built in), nas-bench-201 (as `azlib data` fetches it), or a "
        "NAS-Bench-201 .pth, a NATS-Bench folder, or a CSV"
    ),
]


def figures(
    source: Annotated[
        str,
        typer.Option(
            help="ground truth, see `azlib benchmark info --help` (default: NAS-Bench-201 as "
            "fetched, else analog-nasbench)"
        ),
    ] = "",
    folder: Annotated[Path, typer.Option(help="folder of the notebooks")] = Path("notebooks"),
    build: Annotated[Path, typer.Option(help="where executed copies go")] = Path(".build"),
    out: Annotated[str, typer.Option(help="folder of the exhibits (default: figures)")] = "",
    workers: Annotated[
        int | None, typer.Option(help="notebooks at a time (default: one per core)")
    ] = None,
) -> None:
    """Run the notebooks whose exhibits are out of date, side by side; one line for each.

    What the cache of `azlib data` lacks is fetched first (5 MB, once).
    Without a network, or with OFFLINE=1 in the environment, the work goes on
    with the accuracies in analog-nasbench, which are of CIFAR-10 alone.
    """
    from azlib.companion.benchmarks import OFFICIAL
    from azlib.companion.figures import make

    source = "" if source == OFFICIAL else source  # which is what is used by default
    with keeping("notebooks that have run are kept, the same command continues"):
        ran = make(folder, build, source=source, figures=out, workers=workers, say=typer.echo)
    typer.echo(f"{ran} notebooks run; exhibits are in {out or 'figures'}/")


def report(
    figures: Annotated[Path, typer.Option(help="folder of the exhibits")] = Path("figures"),
    notebooks: Annotated[Path, typer.Option(help="folder of the notebooks")] = Path("notebooks"),
    build: Annotated[Path, typer.Option(help="where executed copies are")] = Path(".build"),
    out: Annotated[Path, typer.Option(help="page to write")] = Path("REPRODUCTION.md"),
) -> None:
    """Write the ledger: every published number and claim beside ours, from the exhibits."""
    from azlib.companion.ledger.evidence import Evidence
    from azlib.companion.ledger.report import counted, write

    evidence = Evidence(figures, notebooks, build)
    found = write(evidence, out)
    for line in evidence.outdated():
        typer.echo(line, err=True)
    typer.echo(f"wrote {out}: {counted(found)}")


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


def _place(source: str) -> str:
    """Where a ground truth is; nas-bench-201 stands for what `azlib data` fetches."""
    from azlib.companion.benchmarks import OFFICIAL

    if source != OFFICIAL:
        return source
    from azlib.companion.data import nas_bench_201  # here, as only this needs pooch

    return nas_bench_201(say=typer.echo)


@benchmark.command("info")
def info(source: Source = "analog-nasbench") -> None:
    """Say what a ground truth holds."""
    from azlib.companion import benchmarks

    table = benchmarks.info(_place(source))
    for key, value in table.attrs.items():
        typer.echo(f"{key}: {value}")
    typer.echo(table.to_string())


@benchmark.command("export")
def export(source: Source, out: Annotated[Path, typer.Argument(help="CSV file to write")]) -> None:
    """Write a ground truth as a CSV that loads in under a second."""
    from azlib.companion import benchmarks

    benchmarks.export(_place(source), out)
    typer.echo(f"wrote {out}")
