"""The registry of proxies: their names, where they come from, and what each one needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azlib.aggregation import ASSEMBLIES, AZ_NAS
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


REGISTRY: dict[str, Proxy] = {}


def proxy(name: str, source: str, **needs: Any) -> Callable:
    """Registers a function of a `Probe` under a name; refuses a name that is taken.

    needs: `init`, `images`, `labels`, `shared` of a `Proxy`. The function finds the network at that
    initialisation, in training mode, with running statistics as if new.
    """

    def register(function: Callable[[Probe], float]) -> Callable[[Probe], float]:
        if name in REGISTRY:
            raise AzlibError(f"proxy {name!r} is registered twice")
        REGISTRY[name] = Proxy(name, source, function, **needs)
        return function

    return register


def names(proxies: str | Iterable[str] = "az") -> list[str]:
    """Proxy names from a list or from text like "az,smallest_share", each once.

    "az" is the paper's four; any name of `aggregate.ASSEMBLIES` is its proxies. Raises
    `AzlibError` for a name that is not registered.
    """
    return list(dict.fromkeys(members(proxies)))


def members(proxies: str | Iterable[str] = "az") -> tuple[str, ...]:
    """What a ranking sums: as `names`, but what stands twice, in an assembly for one, stays twice
    and weighs twice."""
    if isinstance(proxies, str):
        proxies = proxies.split(",")
    assemblies = {"az": AZ_NAS, **ASSEMBLIES}
    given = [name for part in proxies for name in assemblies.get(part.strip(), (part.strip(),))]
    for name in given:
        if name not in REGISTRY:
            raise unknown("proxy", name, [*assemblies, *REGISTRY])
    return tuple(given)
