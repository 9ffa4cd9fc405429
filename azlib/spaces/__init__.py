"""Search spaces: strings ↔ architectures, sampling and mutation, networks, costs.

Every space is a frozen dataclass with `name`, `input_shape`, `sample(rng)`, `mutate(arch, rng)`,
`legal(arch)`, `build(arch)` and `count(arch)`; architectures are strings.
"""

from __future__ import annotations

from azlib.errors import unknown

NAMES = (
    "nasbench201",
    "nasbench201-full",
    "mobilenetv2",
    "mobilenetv2-superblocks",
    "autoformer-tiny",
    "autoformer-small",
    "autoformer-base",
)


def get(name: str, resolution: int | None = None, **options):
    """The search space of that name; options are the fields of its class.

    "nasbench201-full" builds the benchmark's own networks, dead edges included, where "nasbench201"
    builds the lean ones that the AZ-NAS proxies cannot tell from them. "mobilenetv2-superblocks" is
    the MobileNetV2 space with fewer taps. resolution: pixels at which
    NAS-Bench-201 networks are scored and their MACs counted. The ImageNet spaces count costs at 224
    pixels, whatever resolution they are scored at.
    """
    if name not in NAMES:
        raise unknown("search space", name, NAMES)
    if name.startswith("nasbench201"):
        from azlib.spaces.nasbench201 import NASBench201

        lean = not name.endswith("-full")
        return NASBench201(resolution=resolution, lean=lean, name=name, **options)
    if name.startswith("mobilenetv2"):
        from azlib.spaces.mobilenetv2 import MobileNetV2

        return MobileNetV2(taps=name.removeprefix("mobilenetv2").strip("-") or "all", **options)
    from azlib.spaces.autoformer import AutoFormer

    return AutoFormer(size=name.removeprefix("autoformer-"), **options)
