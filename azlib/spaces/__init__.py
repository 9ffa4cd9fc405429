"""Search spaces: architectures as strings, their networks and their costs.

`base` says what a search space is. Every space is a package of its own, in which `text` reads and
writes architectures, `cost` counts, `network` holds the torch modules and `space` puts them
together. Nothing here loads torch before a network is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from azlib.errors import unknown
from azlib.spaces import own
from azlib.spaces.autoformer import AutoFormer
from azlib.spaces.base import EnumerableSpace, Preset, SearchSpace, Training, check_space
from azlib.spaces.mobilenetv2 import MobileNetV2
from azlib.spaces.nasbench201 import NASBench201
from azlib.spaces.nasbenchmacro import NASBenchMacro
from azlib.spaces.transnas101 import TransNAS101Micro

__all__ = ["NAMES", "EnumerableSpace", "Preset", "SearchSpace", "Training", "check_space", "get"]

Kind = (
    type[NASBench201]
    | type[TransNAS101Micro]
    | type[NASBenchMacro]
    | type[MobileNetV2]
    | type[AutoFormer]
)

_SPACES: Mapping[str, tuple[Kind, dict[str, Any]]] = MappingProxyType(
    {
        "nasbench201": (NASBench201, {}),
        "nasbench201-full": (NASBench201, {"name": "nasbench201-full", "lean": False}),
        "transnas101-micro": (TransNAS101Micro, {}),
        "transnas101-micro-full": (
            TransNAS101Micro,
            {"name": "transnas101-micro-full", "lean": False},
        ),
        "nasbench-macro": (NASBenchMacro, {}),
        "mobilenetv2": (MobileNetV2, {}),
        "mobilenetv2-superblocks": (MobileNetV2, {"taps": "superblocks"}),
        "autoformer-tiny": (AutoFormer, {"size": "tiny"}),
        "autoformer-small": (AutoFormer, {"size": "small"}),
        "autoformer-base": (AutoFormer, {"size": "base"}),
    }
)
NAMES = tuple(_SPACES)
"""The names of the search spaces that azlib brings.

"nasbench201-full" builds the benchmark's own networks, dead edges included, where "nasbench201"
builds lean ones that the AZ-NAS proxies cannot tell from them; so does "transnas101-micro-full"
beside "transnas101-micro". "mobilenetv2-superblocks" is the space "mobilenetv2" with fewer places
at which the proxies read.
"""


def get(name: str, cost_resolution: int | None = None, **options: Any) -> SearchSpace:
    """The search space of that name.

    Args:
        name: one of `NAMES`; or a space of your own, as `my_space.py:MySpace`,
            `package.module:MySpace`, or by the name under which an installed package offers it
            (entry points of the group "azlib.spaces"). Once it was found, its own name will do.
        cost_resolution: pixels along a side of the images at which costs are counted; None means
            what the benchmark has: 224 in the ImageNet spaces, the size of the data set elsewhere.
        options: other fields of the class of the space, such as `budget`.

    Raises:
        AzlibError: for an unknown name or option, for a value that the space refuses, and for a
            space of your own that does not do what a search will ask of it.
    """
    if cost_resolution is not None:
        options["cost_resolution"] = cost_resolution
    if name not in NAMES:
        return own.get(name, options, taken=NAMES)
    kind, fixed = _SPACES[name]
    known = [field.name for field in fields(kind) if field.name not in fixed]
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    return kind(**fixed, **options)
