"""Search spaces: strings ↔ architectures, sampling and mutation, networks, costs.

Every space is a frozen dataclass with `name`, `input_shape`, `sample(rng)`, `mutate(arch, rng)`,
`legal(arch)`, `build(arch)` and `count(arch)`; architectures are strings.
"""

from __future__ import annotations

from azlib.errors import unknown

NAMES = ("nasbench201", "mobilenetv2", "autoformer")


def get(name: str, **options):
    """The search space of that name; options are the fields of its class."""
    if name not in NAMES:
        raise unknown("search space", name, NAMES)
    if name == "nasbench201":
        from azlib.spaces.nasbench201 import NASBench201 as Space
    elif name == "mobilenetv2":
        from azlib.spaces.mobilenetv2 import MobileNetV2 as Space
    else:
        from azlib.spaces.autoformer import AutoFormer as Space
    return Space(**options)
