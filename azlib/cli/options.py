"""Options that several commands share, each declared once.

A command takes such a group as one argument; `expanded` shows its fields to typer one by one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from azlib import own_code, spaces
from azlib.spaces import own
from azlib.spaces.base import SearchSpace

if TYPE_CHECKING:
    from azlib.scoring import Execution


@dataclass(frozen=True)
class SpaceOptions:
    """Which search space."""

    space: Annotated[
        str | None,
        typer.Option(
            help=f"search space: {', '.join(spaces.NAMES)}, or your own: my_space.py:MySpace"
        ),
    ] = None
    budget: Annotated[
        str | None,
        typer.Option(help="mobilenetv2: FLOPs, such as 450M; autoformer: default or tf-tas"),
    ] = None

    def get(self, default: str) -> SearchSpace:
        """The space, under its budget."""
        name = self.space or default
        space = spaces.get(name)
        if self.budget is None:
            return space
        return spaces.get(name, **own.read_budget(space, self.budget))


@dataclass(frozen=True)
class ScoreOptions:
    """What a score depends on besides architecture and seed: the fields of `ScoreSettings`."""

    batch: Annotated[int | None, typer.Option(help="number of images")] = None
    resolution: Annotated[int | None, typer.Option(help="pixels along each side of the images")] = (
        None
    )
    init: Annotated[
        str | None,
        typer.Option(help="how weights are drawn: by name, or supernet (autoformer spaces)"),
    ] = None
    batch_statistics: Annotated[
        bool | None,
        typer.Option(
            "--batch-statistics/--running-statistics", help="what normalisation layers use"
        ),
    ] = None
    noise_source: Annotated[
        str | None,
        typer.Option(help="what proxies that read noise are fed: gaussian, or images by name"),
    ] = None
    labelled_images: Annotated[
        str | None,
        typer.Option(help="images for proxies that need labels: patches, or e.g. cifar10=FOLDER"),
    ] = None
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu"
    precision: Annotated[
        str | None, typer.Option(help="what the network is run in: float32 or bfloat16")
    ] = None

    def changes(self) -> dict[str, Any]:
        """The options that were given, as `ScoreSettings.changed` takes them."""
        return vars(self).copy()


@dataclass(frozen=True)
class ImportOptions:
    """The user's own code."""

    imported: Annotated[
        list[Path] | None,
        typer.Option("--import", help="file with proxies of your own, my_proxies.py; repeatable"),
    ] = None

    def load(self) -> None:
        """Runs the files, so that their proxies are known by name."""
        for path in self.imported or ():
            own_code.load(path)


@dataclass(frozen=True)
class ExecutionOptions:
    """How the work is carried out; nothing here changes a result."""

    workers: Annotated[
        int | None, typer.Option(help="processes of one thread each (default: one per core)")
    ] = None
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler to work on instead, tcp://...")
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bar")] = False

    def execution(self, **more: Any) -> Execution:
        """The same as an `Execution`."""
        from azlib.scoring import Execution

        return Execution(self.workers, self.scheduler, progress=not self.quiet, **more)


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its option groups as parameters of their own."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {
        name: hint for name, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)
    }
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name not in groups:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        group = groups[parameter.name]
        types = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=types[option.name],
            )
            for option in fields(group)
        ]

    @wraps(command)
    def shown(**given: Any) -> None:
        collected = {
            name: group(**{option.name: given.pop(option.name) for option in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **collected)

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([p.replace(kind=keyword) for p in parameters])
    shown.__annotations__ = {p.name: p.annotation for p in parameters}
    vars(shown)["__signature__"] = signature
    del vars(shown)["__wrapped__"]  # or typer would look behind it
    return shown
