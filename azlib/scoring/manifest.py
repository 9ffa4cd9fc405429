"""Which score files there are and how each one is made: `data/scores/manifest.toml`.

The manifest is the one place that says so. `azlib scores` makes the files, `make` runs it, the
datasheet `README.md` and the tests read it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from azlib import spaces
from azlib.assemblies import ASSEMBLIES, AZ_NAS
from azlib.errors import AzlibError, reason, unknown
from azlib.scoring.architectures import sample
from azlib.scoring.files import COMMITTED
from azlib.scoring.files import read as read_scores
from azlib.scoring.pool import Execution
from azlib.scoring.sweep import sweep
from azlib.settings import ScoreSettings
from azlib.spaces.base import SearchSpace
from azlib.spaces.own import read_budget

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST = "manifest.toml"
Trained = Callable[[str], list[str]]
"""Gives the architectures that a benchmark trained, by the name of the benchmark."""


class Named(Protocol):
    """An entry of a manifest: a dataclass with the name of its file."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def file(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True)
class Entry:
    """One score file.

    file: its name without the suffix, `<group>_<space>_<setting>`. about: what it holds, for
    readers. space, budget: the search space. proxies: names or an assembly. seeds: of the scores.
    unique: whether networks that are the same are scored once. sample: how many random
    architectures; None means all. benchmark: whose trained architectures are scored instead, see
    `azlib.companion.data`. chunk: architectures per task. settings: changes of `ScoreSettings`
    from what the space says. made_by: what makes the file, if not `azlib scores`.
    """

    file: str
    about: str
    space: str = "nasbench201"
    budget: str | None = None
    proxies: str = "az"
    seeds: tuple[int, ...] = (1,)
    unique: bool = False
    sample: int | None = None
    benchmark: str | None = None
    chunk: int = 32
    settings: dict[str, Any] = field(default_factory=dict)
    made_by: str | None = None

    @property
    def group(self) -> str:
        """The group of proxies that the file holds, the first word of its name."""
        return self.file.partition("_")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The proxies by their names, each once; like the rest of the manifest without torch."""
        known = {"az": AZ_NAS, **ASSEMBLIES}
        parts = (known.get(part, (part,)) for part in self.proxies.split(","))
        return tuple(dict.fromkeys(chain.from_iterable(parts)))

    def score_settings(self, space: SearchSpace) -> ScoreSettings:
        """How the file is scored."""
        return ScoreSettings.for_space(space, **{"proxies": self.names, **self.settings})

    def search_space(self) -> SearchSpace:
        """The space of the file, under its budget, with costs counted as scoring does."""
        space = spaces.get(self.space)
        if self.budget is not None:
            space = spaces.get(self.space, **read_budget(space, self.budget))
        if (resolution := self.settings.get("resolution")) is not None:
            space = space.scored_at(resolution)
        return space

    def make(self, folder: Path, execution: Execution, trained: Trained) -> Path:
        """Scores what the file lacks, and returns its path.

        Args:
            folder: where the file is or will be.
            execution: how the work is carried out.
            trained: gives the architectures of a benchmark. It is asked only where the file has to
                be made, so that nothing is fetched for one that is complete.
        """
        if self.made_by is not None:
            raise AzlibError(f"{self.file} is made by {self.made_by}, not by `azlib scores`")
        space, path = self.search_space(), folder / f"{self.file}.parquet"
        archs = None if self.sample is None else sample(space, self.sample)
        if self.benchmark is not None:
            archs = (
                trained(self.benchmark) if not path.exists() else list(read_scores(path)["arch"])
            )
        return sweep(
            space,
            path,
            self.score_settings(space),
            seeds=self.seeds,
            archs=archs,
            unique=self.unique,
            execution=execution,
        )


def entries(folder: str | Path = COMMITTED) -> list[Entry]:
    """The score files of the manifest in a folder, in its order. Raises as `read` does."""
    return read(Path(folder) / MANIFEST, Entry)


def chosen(names: Iterable[str], folder: str | Path = COMMITTED) -> list[Entry]:
    """The entries with these names, or all that `azlib scores` makes where none is given.

    Raises `AzlibError` for a name that the manifest does not have.
    """
    found = pick(names, entries(folder))
    return found if names else [entry for entry in found if entry.made_by is None]


def read(path: Path, kind: type[T]) -> list[T]:
    """The entries of a manifest, a TOML file with one table `[[file]]` for each of them.

    Raises `AzlibError` for a manifest that is missing or damaged, and one that names a file twice.
    """
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))["file"]
        found = [_entry(item, kind) for item in listed]
    except FileNotFoundError as error:
        raise AzlibError(f"no manifest {path}: run in a checkout of azlib's repository") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise AzlibError(f"{path} is no manifest of files: {reason(error)}") from error
    names = [entry.file for entry in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise AzlibError(f"{path} names {', '.join(twice)} twice")
    return found


def _entry(item: dict[str, Any], kind: type[T]) -> T:
    known = [entry_field.name for entry_field in fields(kind)]
    for name in item:
        if name not in known:
            raise unknown("key", name, known)
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in item.items()})


def pick(names: Iterable[str], found: list[T]) -> list[T]:
    """The entries with these names, or all of them where none is given."""
    known = {entry.file: entry for entry in found}
    wanted = [Path(name).name.removesuffix(".parquet") for name in names]
    for name in wanted:
        if name not in known:
            raise unknown("file of the manifest", name, known)
    return [known[name] for name in wanted] or found


def variants(space: str, resolution: int) -> list[tuple[Entry, str, Any]]:
    """The files of a space that differ in one setting from the plain file of their group.

    Each with the name of the setting and its value. The plain file is `<group>_<space>_<n>px`.
    """
    committed = entries()
    plain = {e.group: e for e in committed if e.file == f"{e.group}_{space}_{resolution}px"}
    found = []
    for entry in committed:
        if entry.space.startswith(space) and (usual := plain.get(entry.group)) is not None:
            changed = entry.settings.items() - usual.settings.items()
            if len(changed) == 1 and entry.settings.keys() >= usual.settings.keys():
                found.append((entry, *changed.pop()))
    return found
