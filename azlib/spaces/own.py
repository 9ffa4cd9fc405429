"""Search spaces that users bring: in a file, in a module, or in a package that is installed."""

from __future__ import annotations

import inspect
import keyword
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np

from azlib import own_code
from azlib.errors import AzlibError, out_of_memory, unknown
from azlib.files import replacing
from azlib.settings import check_shape
from azlib.spaces.base import SearchSpace, check_space

GROUP = "azlib.spaces"
"""The group of entry points by which an installed package offers its spaces."""
_HINT = "A space of your own is given as my_space.py:MySpace."
_TEMPLATE = Path(__file__).with_name("template.py")
_found: dict[str, Any] = {}  # what spaces are made from, by the names that these call themselves


def get(name: str, options: Mapping[str, Any], taken: Sequence[str]) -> SearchSpace:
    """A space of the user's own, after it was tried out.

    Args:
        name: where it is defined, or its own name if it was found before.
        options: arguments of its class.
        taken: names of azlib's spaces, which it must not have.

    Raises:
        AzlibError: where there is no such space, and where it does not do what it should.
    """
    source = _source(name, taken)
    space = _made(source, name, options)
    check_space(space)
    rehearse(space)
    if space.name in taken:
        raise AzlibError(
            f"the space {name} calls itself {space.name!r}, as one of azlib's does: give it "
            "another name"
        )
    offered = {point.name for point in metadata.entry_points(group=GROUP)}
    if name in offered and space.name != name:
        raise AzlibError(
            f"the entry point {name!r} gives a space that calls itself {space.name!r}: scores "
            "would not find it again; the two names must be the same"
        )
    _found[space.name] = source
    return space


def _source(name: str, taken: Sequence[str]) -> Any:
    """The class, function or object that a name stands for."""
    if name in _found:
        return _found[name]
    code, colon, member = name.rpartition(":")
    if colon and code:
        module = own_code.load(code)
        if not hasattr(module, member):
            raise unknown(f"member of {code}", member, _classes(module))
        return getattr(module, member)
    if name.endswith(".py"):
        listed = " or ".join(f"{name}:{member}" for member in _classes(own_code.load(name)))
        raise AzlibError(f"space {name!r}: say which class of the file, as {listed or 'FILE:NAME'}")
    offered = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if name not in offered:
        raise unknown("search space", name, [*taken, *offered, *_found], _HINT)
    try:
        return offered[name].load()
    except (Exception, SystemExit) as error:  # a stranger's package can fail in any way
        raise AzlibError(
            f"the search space {name!r} of an installed package cannot be loaded: "
            f"{own_code.told(error)}"
        ) from error


def _classes(module: Any) -> list[str]:
    """The classes that a module defines itself."""
    return [
        name
        for name, member in vars(module).items()
        if isinstance(member, type) and member.__module__ == module.__name__
    ]


def _made(source: Any, name: str, options: Mapping[str, Any]) -> SearchSpace:
    """The space itself: what a class or function returns, or an object as it is."""
    if inspect.isabstract(source):
        raise AzlibError(
            f"{source.__name__} is no search space yet, as it lacks "
            f"{', '.join(sorted(source.__abstractmethods__))}: write them (docs/own-space.md)"
        )
    makes = isinstance(source, type) or inspect.isfunction(source)
    known = [p.name for p in _parameters(source)] if makes and options else []
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known or ["none"])
    return _asked(source, "", name, **options) if makes else source


def _parameters(source: Callable[..., Any]) -> list[inspect.Parameter]:
    every = inspect.signature(source).parameters.values()
    return [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def rehearse(space: SearchSpace) -> None:
    """Asks a space for what a search will ask, but for a network, which takes longer.

    Raises `AzlibError` that names the member which raises or returns something else.
    """
    if not isinstance(space.name, str) or not space.name:
        raise AzlibError(f"name of {type(space).__name__} is {space.name!r}: expected a text")
    try:
        check_shape(space.input_shape)
    except AzlibError as error:
        raise AzlibError(f"input_shape of {type(space).__name__}: {error}") from error
    drawn = [
        [_text(space, "sample", rng) for _ in range(3)]
        for rng in (np.random.default_rng(0), np.random.default_rng(0))
    ]
    if drawn[0] != drawn[1]:
        raise AzlibError(
            f"{type(space).__name__}.sample does not draw from the generator that it is given, so "
            "that no search could be repeated: use rng.integers or rng.choice"
        )
    arch = drawn[0][0]
    _text(space, "mutate", arch, np.random.default_rng(0), 2)
    _text(space, "canonical", arch)
    check_space(_asked(space.scored_at, "scored_at", type(space).__name__, space.input_shape[-1]))
    legal = _asked(space.legal, "legal", type(space).__name__, arch)
    if not isinstance(legal, bool | np.bool_):
        raise _wrong(space, "legal", legal, "True or False")
    costs = _asked(space.count, "count", type(space).__name__, arch)
    if not isinstance(costs, Mapping) or not {"macs", "params"} <= set(costs):
        raise _wrong(space, "count", costs, "a dictionary with macs and params")
    try:
        inspect.signature(space.build).bind(arch, space.input_shape[-1])
    except TypeError as error:
        raise AzlibError(
            f"{type(space).__name__}.build takes {inspect.signature(space.build)}: expected "
            "(arch, resolution=None)"
        ) from error


def read_budget(space: SearchSpace, text: str) -> dict[str, Any]:
    """The fields that a budget stands for in a space, as `spaces.get` takes them.

    Raises `AzlibError` for a malformed budget, and where a user's `read_budget` raises or returns
    anything but a dictionary.
    """
    given = Asked(space).read_budget(text)
    if not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given)):
        raise _wrong(space, "read_budget", given, "a dictionary from names of fields to values")
    return dict(given)


def _text(space: SearchSpace, member: str, *given: Any) -> str:
    """The architecture that a member returns."""
    result = _asked(getattr(space, member), member, type(space).__name__, *given)
    if not isinstance(result, str):
        raise _wrong(space, member, result, "a text, which is what architectures are")
    return result


class Asked:
    """A space as a sweep or a search asks it: what a member raises says which one, and on what.

    What azlib itself raises on purpose says so already, and a lack of memory is told elsewhere.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def __getattr__(self, member: str) -> Any:
        found = getattr(self._space, member)
        if not callable(found):
            return found

        def ask(*given: Any, **named: Any) -> Any:
            try:
                return found(*given, **named)
            except Exception as error:  # a stranger's space can fail in any way
                if isinstance(error, AzlibError) or out_of_memory(error):
                    raise
                said = f"{type(self._space).__name__}.{member}"
                raise _raised(said, found, given, error) from error

        return ask

    def __repr__(self) -> str:
        return repr(self._space)


def _asked(function: Callable[..., Any], member: str, name: str, *given: Any, **named: Any) -> Any:
    """What a user's function returns; what it raises becomes an `AzlibError` of one line."""
    said = f"{name}.{member}" if member else name
    try:
        return function(*given, **named)
    except AzlibError as error:
        raise AzlibError(f"{said}: {error}") from error
    except Exception as error:  # a stranger's space can fail in any way
        raise _raised(said, function, given, error) from error


def _raised(
    said: str, function: Callable[..., Any], given: Sequence[Any], error: Exception
) -> AzlibError:
    """The line about what a user's function raised, with the architecture that it was given."""
    arch = next((f" of {thing!r}" for thing in given if isinstance(thing, str)), "")
    return AzlibError(f"{said}{arch} raises {own_code.told(error, _file_of(function))}")


def _file_of(function: Callable[..., Any]) -> str | None:
    """The file in which a function or a class is written, if there is one."""
    try:
        return inspect.getsourcefile(function)
    except (TypeError, OSError):
        return None


def _wrong(space: SearchSpace, member: str, result: object, expected: str) -> AzlibError:
    return AzlibError(
        f"{type(space).__name__}.{member} returns {type(result).__name__} "
        f"{str(result)[:60]!r}: expected {expected}"
    )


def _hides_a_module(path: Path) -> bool:
    """Whether Python, started beside a file, would import it in place of something else."""
    if path.stem in sys.stdlib_module_names or path.stem == "azlib":
        return True
    own = (Path.cwd(), path.resolve().parent)
    elsewhere = [place for place in sys.path if Path(place).resolve() not in own]
    found = PathFinder.find_spec(path.stem, elsewhere)
    return found is not None and found.origin is not None  # no origin: a folder without a module


def write_template(path: str | Path, taken: Sequence[str]) -> str:
    """Writes a search space to start from, and returns how it is addressed, `FILE:CLASS`.

    Its class is called after the file, so that `wide_nets.py` holds `WideNets`, and so is the space
    itself, `wide-nets`. taken: names of azlib's spaces, which it must not have.
    Raises `AzlibError` for a file that is there already, and for a name that no module, class or
    space of the user's can have.
    """
    path = Path(path)
    words = [word for word in path.stem.split("_") if word]
    member = "".join(word[0].upper() + word[1:] for word in words)
    named = path.stem.isidentifier() and member.isidentifier() and not keyword.iskeyword(member)
    if path.suffix != ".py" or not named:
        raise AzlibError(f"{path} cannot hold a space: give a file name such as my_space.py")
    if _hides_a_module(path):
        raise AzlibError(
            f"{path} would hide the installed module {path.stem!r}: choose another file name, such "
            "as my_space.py"
        )
    name = "-".join(words)
    if name in taken:
        raise AzlibError(
            f"{path} would hold a space that calls itself {name!r}, as one of azlib's does: choose "
            "another file name, such as my_space.py"
        )
    if path.exists():
        raise AzlibError(f"{path} is there already: choose another name, or delete it first")
    text = _TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("my_space.py", path.name).replace("MySpace", member)
    with replacing(path) as temporary:
        temporary.write_text(text.replace("my-space", name), encoding="utf-8")
    return f"{path}:{member}"
