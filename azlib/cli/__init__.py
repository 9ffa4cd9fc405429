"""The command line: `azlib --help`."""

from __future__ import annotations

import sys

import typer

from azlib.cli import companion, data, own, scoring, searching, training
from azlib.cli.state import kept
from azlib.errors import AzlibError, reason

app = typer.Typer(
    help="Rank neural networks without training them (AZ-NAS).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    scoring.sweep,
    scoring.scores,
    scoring.check_scores,
    searching.search,
    searching.searches,
    training.train,
    training.export,
    data.data,
    own.new_space,
    companion.figures,
    companion.report,
    companion.run,
):
    app.command()(command)
app.add_typer(companion.benchmark, name="benchmark")


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="show the trace of an unforeseen error"),
) -> None:
    """Rank neural networks without training them (AZ-NAS)."""


def main() -> None:
    """Runs the command line.

    Bad input (an `AzlibError`), Ctrl-C and anything unforeseen end in one line on stderr and exit
    status 1. `--debug`, anywhere on the line, lets the trace of the unforeseen through.
    """
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments)
    except AzlibError as error:
        _end(str(error))
    except KeyboardInterrupt:
        _end(f"stopped; {kept()}")
    except Exception as error:
        if debug:
            raise
        command = next((a for a in arguments if not a.startswith("-")), "")
        _end(
            f"{command} ended on an unforeseen error, {reason(error)}; {kept()}; run it again with "
            "--debug for the trace, and please report it"
        )


def _end(line: str) -> None:
    print(f"azlib: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(1)
