"""The registry of proxies: their names, where they come from, and what each one needs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from azlib.assemblies import ASSEMBLIES, expanded
from azlib.errors import AzlibError, unknown

if TYPE_CHECKING:
    from azlib.proxies.probe import Probe


@dataclass(frozen=True)
class Proxy:
    """A registered proxy: what it is, and what it needs.

    name; source: the paper it comes from; function: of a `Probe`. init: the initialisation its
    definition asks for, or None for the one that all are scored with. images: how many batches of
    real images it reads (0: Gaussian noise, or no input at all). labels: whether it reads their
    labels. shared: whether it reads what one pass leaves for several, so that it has no running
    time of its own.
    """

    name: str
    source: str
    function: Callable[[Probe], float]
    init: str | None = None
    images: int = 0
    labels: bool = False
    shared: bool = False

    @property
    def comes_with_azlib(self) -> bool:
        """Whether it is one of azlib's own, and not of its user."""
        return _place(self.function)[0].partition(".")[0] == "azlib"


REGISTRY: dict[str, Proxy] = {}
_COLUMNS = {"arch", "seed", "seconds", "step", "structure", "score", "az_nas", "place", "reason"}
"""Columns of score files, of logs and of rankings, which no proxy may be called."""
_HINT = "One of your own is known once its file was imported (--import my_proxies.py)."


def proxy(name: str, source: str = "own", **needs: Any) -> Callable:
    """Registers a function of a `Probe` under a name, by which everything in azlib then knows it.

        @azlib.proxy("widest")
        def widest(probe):
            return max(module.out_channels for module in probe.model.modules()
                       if isinstance(module, nn.Conv2d))

    The function finds the network at the initialisation that it asks for, in training mode, with
    running statistics as if new. It returns one number, higher being better, NaN where it is not
    defined, and leaves the network as it found it.

    Registering a function of the same module and name again replaces it, so that the cell of a
    notebook can be run twice.

    Args:
        name: letters, digits, `_`, `-` and `.`, after a letter.
        source: the paper it comes from.
        needs: `init`, `images`, `labels`, `shared` of a `Proxy`.

    Raises:
        AzlibError: for a name that is taken or cannot be a column, for an unknown need, and for
            something that is no function of one argument.
    """
    _check_name(name)
    known = [field.name for field in fields(Proxy)][3:]
    for need in needs:
        if need not in known:
            raise unknown("need of a proxy", need, known)

    def register(function: Callable[[Probe], float]) -> Callable[[Probe], float]:
        _check_function(name, function)
        if (held := REGISTRY.get(name)) is not None and _place(held.function) != _place(function):
            whose = f"that of {'.'.join(_place(held.function))}"
            if held.comes_with_azlib:
                whose = "azlib's own"
            raise AzlibError(f"the proxy {name!r} is {whose}: choose another name")
        REGISTRY[name] = Proxy(name, source, function, **needs)
        return function

    return register


def _check_name(name: object) -> None:
    """Raises `AzlibError` unless a proxy can be called so."""
    if not isinstance(name, str):
        raise AzlibError(f'a proxy needs a name: write @proxy("name"), got {name!r}'[:200])
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name):
        raise AzlibError(
            f"proxy name {name!r}: expected letters, digits, _, - and . after a letter"
        )
    if name == "az" or name in ASSEMBLIES:
        raise AzlibError(f"proxy name {name!r} is that of an assembly: choose another")
    if name in _COLUMNS or name.startswith(("seconds_", "rank_")):
        raise AzlibError(f"proxy name {name!r} is that of a column of its own: choose another")


def _check_function(name: str, function: object) -> None:
    """Raises `AzlibError` unless something can be called with a probe alone."""
    try:
        inspect.signature(function).bind(None)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise AzlibError(
            f"proxy {name!r}: expected a function of one argument, the probe, got "
            f"{getattr(function, '__name__', function)!r} ({error})"
        ) from error


def _place(function: Callable) -> tuple[str, str]:
    """Where a function is defined; a script is the same module here and in its worker processes."""
    module = function.__module__ or "nowhere"
    return module.replace("__mp_main__", "__main__"), getattr(
        function, "__qualname__", type(function).__name__
    )


def own(proxies: Iterable[str]) -> tuple[Proxy, ...]:
    """Those of some registered proxies that do not come with azlib.

    Another process knows them only if they are sent there, see `adopt`.
    """
    held = [REGISTRY[name] for name in dict.fromkeys(proxies) if name in REGISTRY]
    return tuple(proxy for proxy in held if not proxy.comes_with_azlib)


def adopt(proxies: Iterable[Proxy]) -> None:
    """Registers proxies that came from another process."""
    for held in proxies:
        REGISTRY[held.name] = held


def names(proxies: str | Iterable[str] = "az") -> list[str]:
    """Proxy names from a list or from text like "az,smallest_share", each once.

    "az" is the paper's four; any name of `aggregate.ASSEMBLIES` is its proxies. Raises
    `AzlibError` for a name that is not registered.
    """
    return list(dict.fromkeys(members(proxies)))


def members(proxies: str | Iterable[str] = "az") -> tuple[str, ...]:
    """What a ranking sums: as `names`, but what stands twice, in an assembly for one, stays twice
    and weighs twice."""
    given = expanded(proxies)
    for name in given:
        if name not in REGISTRY:
            raise unknown("proxy", name, ["az", *ASSEMBLIES, *REGISTRY], _HINT)
    return given
