"""The commands for people's own networks: `score` and `rank`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azlib.cli.options import ImportOptions, ScoreOptions, expanded
from azlib.cli.text import read_shape
from azlib.errors import AzlibError

if TYPE_CHECKING:
    import pandas as pd

Networks = Annotated[
    list[str],
    typer.Argument(
        help="timm:resnet18,resnet50, torchvision:resnet18, file.py:function or "
        "package.module:function, which returns a network or a dictionary of networks"
    ),
]


@dataclass(frozen=True)
class InputOptions:
    """What the networks are scored by, and what they are fed."""

    proxies: Annotated[str, typer.Option(help="az, an assembly, or names joined by commas")] = "az"
    seed: Annotated[int, typer.Option(help="seed of weights, input and random signs")] = 1
    input_shape: Annotated[
        str | None,
        typer.Option(help="such as 64,3,32,32 (default: what each network says of itself)"),
    ] = None


@dataclass(frozen=True)
class OutputOptions:
    """Where the result goes, and in which form."""

    json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False
    csv: Annotated[bool, typer.Option("--csv", help="print CSV instead of a table")] = False
    out: Annotated[
        Path | None, typer.Option(help="write to this file, JSON or CSV by its ending")
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bar, no warnings")] = False

    def form(self) -> str:
        """ "json", "csv" or "table". Raises `AzlibError` where the options contradict."""
        asked = [name for name in ("json", "csv") if getattr(self, name)]
        if self.out is not None:
            asked.append(self.out.suffix.removeprefix(".").lower())
            if asked[-1] not in ("json", "csv"):
                raise AzlibError(f"out={str(self.out)!r}: expected a name in .csv or .json")
        if len(set(asked)) > 1:
            raise AzlibError(f"asked for {' and for '.join(asked)}: expected one of them")
        return asked[0] if asked else "table"

    def check(self) -> None:
        """Refuses, before anything is computed, what could not be shown or written afterwards."""
        from azlib.files import check_writable

        self.form()
        if self.out is not None:
            check_writable(self.out)

    def show(self, frame: pd.DataFrame) -> None:
        """Prints or writes a table of networks."""
        from azlib.cli.tables import FORMS
        from azlib.files import replacing

        text = FORMS[self.form()](frame)
        if self.out is None:
            typer.echo(text)
            return
        with replacing(self.out) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        typer.echo(f"wrote {self.out}")


@expanded
def score(
    networks: Networks,
    what: InputOptions,
    how: ScoreOptions,
    code: ImportOptions,
    output: OutputOptions,
) -> None:
    """Score networks: timm's, torchvision's, or your own."""
    from azlib.proxies import score_each

    code.load()
    output.show(_computed(score_each, networks, what, how, output))


@expanded
def rank(
    networks: Networks,
    what: InputOptions,
    how: ScoreOptions,
    code: ImportOptions,
    output: OutputOptions,
    method: Annotated[str, typer.Option(help="how ranks are added up: log or linear")] = "log",
) -> None:
    """Rank networks against each other; one that cannot be scored is last, with the reason."""
    from azlib.proxies import rank as rank_networks

    code.load()
    output.show(_computed(rank_networks, networks, what, how, output, method=method))


def _computed(
    function: Any,
    networks: list[str],
    what: InputOptions,
    how: ScoreOptions,
    output: OutputOptions,
    **more: Any,
) -> pd.DataFrame:
    """The table of networks that a function of the library makes of these options."""
    import warnings

    from azlib.cli.networks import read_networks
    from azlib.proxies import members

    output.check()
    members(what.proxies)
    settings = {name: value for name, value in how.changes().items() if value is not None}
    if how.init == "none":
        settings["init"] = None
    shape = None if what.input_shape is None else read_shape(what.input_shape)
    with warnings.catch_warnings():
        if output.quiet:
            warnings.simplefilter("ignore")
        return function(
            read_networks(networks, what.seed),
            shape,
            proxies=what.proxies,
            seed=what.seed,
            progress=not output.quiet,
            **settings,
            **more,
        )
