"""The command line: `azlib --help`."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer
from tqdm import tqdm
from typer.core import TyperGroup

import azlib
from azlib.cli import companion, data, own, ranking, scoring, searching, training
from azlib.cli.state import kept
from azlib.errors import AzlibError, AzlibWarning, reason


class _Stoppable(TyperGroup):
    """The commands; Ctrl-C in one of them says what is kept, where typer would end in silence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise AzlibError(f"stopped; {kept()}") from None


app = typer.Typer(cls=_Stoppable, no_args_is_help=True, pretty_exceptions_enable=False)
for command in (
    ranking.score,
    ranking.rank,
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


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"azlib {azlib.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="show the trace of an unforeseen error"),
    version: bool = typer.Option(
        False, "--version", help="say which version this is", callback=_version, is_eager=True
    ),
) -> None:
    """Rank neural networks without training them (AZ-NAS).

    `azlib --install-completion` teaches your shell to complete commands and options.
    """


def main() -> None:
    """Runs the command line.

    Bad input (an `AzlibError`), Ctrl-C and anything unforeseen end in one line on stderr and exit
    status 1. `--debug`, anywhere on the line, lets the trace of the unforeseen through.
    """
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    warnings.showwarning = _one_line
    try:
        app(arguments)
    except AzlibError as error:
        _end(str(error))
    except KeyboardInterrupt:  # before a command begins, see `_Stoppable`
        _end(f"stopped; {kept()}")
    except Exception as error:
        if debug:
            raise
        command = next((a for a in arguments if not a.startswith("-")), "")
        _end(
            f"{command} ended on an unforeseen error, {reason(error)}; {kept()}; run it again with "
            "--debug for the trace, and please report it"
        )


def _one_line(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Prints a warning in one line, above the progress bar if there is one."""
    kind = "" if issubclass(category, AzlibWarning) else f"{category.__name__}: "
    tqdm.write(f"azlib: {kind}{' '.join(str(message).split())}", file=sys.stderr)


def _end(line: str) -> None:
    print(f"azlib: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(1)
