"""The eight weight initialisations that the paper's code compares, and two that baselines bring.

Applied to every convolution and linear layer; their biases become 0 (but for "default"),
normalisation layers get weight 1 and bias 0. Scales of residual branches that start close to zero
get 1 too: they make every block nearly the identity, however it is built, until it is trained. All
values are drawn from the generator that is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod, sqrt

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from azlib.errors import AzlibError, reason, unknown
from azlib.running import modules

Draw = Callable[[Tensor, tuple[int, int], "torch.Generator | None"], Tensor]
"""Fills a weight, given its fan-in and fan-out and a random stream."""
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)

_LAYER_SCALES = r"gamma|layer_?scale|lambda|alpha|gain|res_?scale|resweight|rezero"
_SMALL = 0.1  # the largest value at which layer scales start


def _normal(std: Callable[[int, int], float]) -> Draw:
    return lambda w, fans, g: w.normal_(0.0, std(*fans), generator=g)


def _uniform(bound: Callable[[int, int], float]) -> Draw:
    return lambda w, fans, g: w.uniform_(-bound(*fans), bound(*fans), generator=g)


DRAWS: dict[str, Draw] = {
    "kaiming_norm_fanin": _normal(lambda fan_in, _: sqrt(2 / fan_in)),
    "kaiming_norm_fanout": _normal(lambda _, fan_out: sqrt(2 / fan_out)),
    "kaiming_uni_fanin": _uniform(lambda fan_in, _: sqrt(6 / fan_in)),
    "kaiming_uni_fanout": _uniform(lambda _, fan_out: sqrt(6 / fan_out)),
    "xavier_norm": _normal(lambda fan_in, fan_out: sqrt(2 / (fan_in + fan_out))),
    "xavier_uni": _uniform(lambda fan_in, fan_out: sqrt(6 / (fan_in + fan_out))),
    "plain_norm": _normal(lambda *_: 0.1),
    "plain_uni": _uniform(lambda *_: 0.1),
}

OF_BASELINES = {
    "default": _uniform(lambda fan_in, _: sqrt(1 / fan_in)),  # PyTorch's constructors; biases too
    "unit_norm": _normal(lambda *_: 1.0),  # Zen
}
"""Initialisations that single proxies are defined with, whatever the others use."""


@torch.no_grad()
def initialise(model: nn.Module, method: str, generator: torch.Generator | None = None) -> None:
    """Draws all weights of `model` anew, in place, in the order of `model.modules()`.

    method: one of `DRAWS` or `OF_BASELINES`; "kaiming_norm_fanin" is the paper's for
    CNNs. "own" calls
    `model.initialise(generator)` (vision transformers bring their own). Weights are drawn on the
    CPU, so that a seed means the same weights on every device.
    Raises `AzlibError` for an unknown method.
    """
    if method == "own":
        if not hasattr(model, "initialise"):
            raise AzlibError(
                f"init='own': {type(model).__name__} has no method `initialise` for its own rule; "
                "None (`none` on the command line) keeps the weights that it has"
            )
        model.initialise(generator)  # type: ignore[operator]
        return
    draws = DRAWS | OF_BASELINES
    if method not in draws:
        raise unknown("initialisation", method, draws)
    draw = draws[method]
    waiting: Waiting = []
    for module in modules(model):
        if not module._parameters and "parametrizations" not in module._modules:
            continue  # most modules have no weights of their own
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            out, into, *kernel = module.weight.shape
            receptive = prod(kernel)
            fans = (into * receptive, out * receptive)
            if "weight" in module._parameters:
                _fill(module.weight, draw, fans, generator, waiting)
            else:
                weight = torch.empty_like(module.weight)
                _assign(module, weight.copy_(draw(torch.empty(weight.shape), fans, generator)))
            if module.bias is not None and method == "default":
                _fill(module.bias, draw, fans, generator, waiting)
            elif module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, _NORMS):
            if module.weight is not None:
                module.weight.fill_(1.0)
            if isinstance(bias := getattr(module, "bias", None), Tensor):  # RMSNorm has none
                bias.zero_()
        else:
            for name, parameter in module.named_parameters(recurse=False):
                if _is_layer_scale(name, parameter):
                    parameter.fill_(1.0)
    _send(waiting)


def inherit(model: nn.Module, seed: int) -> None:
    """Gives a network the weights that it shares with all others of its space at this seed.

    The networks of a space with a supernet have a method for it, `inherit(seed)`.
    Raises `AzlibError` for any other network.
    """
    if not hasattr(model, "inherit"):
        raise AzlibError(
            f'init="supernet": {type(model).__name__} has no supernet to take its weights from, '
            "networks of the AutoFormer spaces have one; name another initialisation"
        )
    model.inherit(seed)  # type: ignore[operator]


def _assign(module: nn.Module, weight: Tensor) -> None:
    """Gives a layer a weight that it computes from others, as weight normalisation does.

    Raises `AzlibError` where there is no way back from the weight to these others.
    """
    why = "it is not made by torch.nn.utils.parametrizations"
    if is_parametrized(module, "weight"):
        try:
            module.weight = weight
            return
        except Exception as error:  # how a parametrisation refuses is up to who wrote it
            why = reason(error)
    raise AzlibError(
        f"the weight of {type(module).__name__} is computed from others and cannot be drawn anew "
        f"({why}): use init=None to keep the weights of the network"
    )


Waiting = list[tuple[Tensor, Tensor]]
"""Tensors on a GPU, and the numbers on the CPU that are to stand in them."""
_AT_ONCE = 2**22  # numbers that are sent together, 16 MB


def _fill(
    values: Tensor,
    draw: Draw,
    fans: tuple[int, int],
    generator: torch.Generator | None,
    waiting: Waiting,
) -> None:
    """Draws a tensor's values on the CPU in single precision, in the order of its indices."""
    on_cpu = values.device.type == "cpu"
    if on_cpu and values.dtype == torch.float32 and values.is_contiguous():
        draw(values, fans, generator)
        return
    drawn = draw(torch.empty(values.shape), fans, generator)
    if on_cpu:
        values.copy_(drawn)
        return
    waiting.append((values, drawn))
    if sum(numbers.numel() for _, numbers in waiting) >= _AT_ONCE:
        _send(waiting)


def _send(waiting: Waiting) -> None:
    """Brings numbers to a GPU together, as it waits for each transfer; none waits any more."""
    if waiting:
        flat = torch.cat([numbers.flatten() for _, numbers in waiting]).to(waiting[0][0].device)
        parts = flat.split([numbers.numel() for _, numbers in waiting])
        for (values, numbers), part in zip(waiting, parts, strict=True):
            values.copy_(part.view(numbers.shape))
        waiting.clear()


def _is_layer_scale(name: str, parameter: Tensor) -> bool:
    """Whether a parameter scales a residual branch that starts at zero or close to it.

    Such scales (LayerScale, SkipInit, ReZero) have names like gamma, one value for each channel or
    one for all, all the same at the start.
    """
    if not parameter.numel() or not re.search(_LAYER_SCALES, name):
        return False
    per_channel = parameter.numel() == 1 or parameter.shape[0] == parameter.numel()
    start = parameter.flatten()[0]
    return per_channel and bool(start.abs() <= _SMALL) and bool((parameter == start).all())
