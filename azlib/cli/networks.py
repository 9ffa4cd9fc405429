"""Networks that the command line names: of timm, of torchvision, or of a Python file or package."""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from azlib import own_code
from azlib.errors import AzlibError, needs, reason, unknown
from azlib.settings import check_seed

if TYPE_CHECKING:
    from azlib.proxies.ranking import Network

EXPECTED = (
    "expected timm:resnet18,resnet50, torchvision:resnet18, file.py:function or "
    "package.module:function"
)


def read_networks(texts: list[str], seed: int = 1) -> dict[str, Network]:
    """The networks that texts such as `timm:resnet18,resnet50` or `nets.py:small` name.

    Those of timm and torchvision are functions that build them, without weights to download. A
    function of a file may return a network, a list, or a dictionary from names to networks or to
    functions that build them. Names that several networks share are told apart by their source and,
    within one file, by their function, so that none is lost; the same function named twice counts
    once. What a function draws from PyTorch's own generator comes from the seed.

    Raises `AzlibError` for text in no such form, for names that are not there (did you mean), for a
    file that raises, and for what is no network.
    """
    found: list[_Found] = []
    asked: set[tuple[str, str]] = set()
    for text in texts:
        source, colon, wanted = text.rpartition(":")
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        if not (colon and source and names):
            raise AzlibError(f"network {text!r}: {EXPECTED}")
        new = [name for name in dict.fromkeys(names) if (source, name) not in asked]
        asked |= {(source, name) for name in new}
        read = _LIBRARIES.get(source, partial(_of_file, source, seed))
        found += read(new)
    return dict(zip(_labels(found), (one.network for one in found), strict=True))


class _Found(NamedTuple):
    """A network and where it comes from: key is its own name, within what the function returned."""

    source: str
    function: str
    key: str
    network: Network


def _labels(found: list[_Found]) -> list[str]:
    """A name for each network, no two alike: its key, and more of its origin where it has to be.

    The last form has a number, for keys that are different things but the same text.
    """
    labels = [one.key for one in found]
    forms = ("{0.source}:{0.key}", "{0.source}:{0.function}:{0.key}")
    for form in (*forms, f"{forms[-1]} ({{1}})"):
        times = Counter(labels)
        labels = [
            form.format(one, place) if times[label] > 1 else label
            for place, (one, label) in enumerate(zip(found, labels, strict=True), 1)
        ]
    return labels


def _of_timm(names: list[str]) -> list[_Found]:
    timm = _library("timm")
    known = timm.list_models()
    for name in names:
        if not timm.is_model(name):
            raise unknown("model of timm", name, known)
    return [_Found("timm", name, name, partial(timm.create_model, name)) for name in names]


def _of_torchvision(names: list[str]) -> list[_Found]:
    models = _library("torchvision").models
    known = models.list_models(module=models)
    for name in names:
        if name not in known:
            raise unknown("model of torchvision", name, known)
    return [
        _Found("torchvision", name, name, partial(_quietly, models.get_model, name, weights=None))
        for name in names
    ]


_LIBRARIES: dict[str, Callable[[list[str]], list[_Found]]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
}


def _library(name: str) -> Any:
    """A library of models, imported."""
    with needs(name, "models"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # a torchvision that was built for another PyTorch
            raise AzlibError(
                f"{name} cannot be imported ({reason(error)}): install the torchvision that "
                "belongs to this PyTorch"
            ) from error


def _quietly(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function returns, without its warnings about defaults that will change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **named)


def _of_file(source: str, seed: int, names: list[str]) -> list[_Found]:
    """The networks that functions of a file or a package return."""
    from azlib.inputs import seeded

    module, seed = own_code.load(source), check_seed(seed)
    found: list[_Found] = []
    for name in names:
        if not hasattr(module, name):
            known = [key for key in vars(module) if not key.startswith("_")]
            raise unknown(f"function of {source}", name, known)
        given = getattr(module, name)
        if callable(given) and not _is_network(given):
            try:
                with seeded(seed):
                    given = given()
            except Exception as error:  # a stranger's function can fail in any way
                told = own_code.told(error, module.__file__)
                raise AzlibError(f"{source}:{name} ends on {told}") from error
        if isinstance(given, list | tuple):
            given = {f"{name}[{place}]": network for place, network in enumerate(given)}
        several = given if isinstance(given, Mapping) else {name: given}
        for key, network in several.items():
            if not (_is_network(network) or (isinstance(given, Mapping) and callable(network))):
                raise AzlibError(
                    f"{source}:{name} gives {type(network).__name__}: expected a torch.nn.Module, "
                    "a list of them, or a dictionary from names to them"
                )
            found.append(_Found(source, name, str(key), network))
    return found


def _is_network(thing: object) -> bool:
    from torch import nn

    return isinstance(thing, nn.Module)
