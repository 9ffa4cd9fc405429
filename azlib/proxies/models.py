"""What can be read off a model that somebody else wrote: its input, and how it is wrapped."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from azlib.errors import AzlibError, reason
from azlib.inputs import gaussian
from azlib.running import modules
from azlib.settings import IMAGE_SHAPE, check_shape

_NUMBERS = 2**20  # pixels or tokens that a batch chosen by azlib holds at most
_TOKENS = 128  # the length of a text where the model does not set a shorter one


def unwrapped(model: object) -> nn.Module:
    """The network inside `torch.compile`, `DataParallel` and `DistributedDataParallel`.

    Raises `AzlibError` for what is no network, and for one without data (on the meta device, or
    with lazy layers that were not run yet).
    """
    if not isinstance(model, nn.Module):
        hint = f": make one, as in {model.__name__}()" if isinstance(model, type) else ""
        raise AzlibError(f"expected a torch.nn.Module, got {type(model).__name__}{hint}")
    if isinstance(model, torch.jit.ScriptModule):
        raise AzlibError("got TorchScript, which cannot be looked into: pass the model it is from")
    network: nn.Module = model
    while isinstance(inner := _wrapped_in(network), nn.Module):
        network = inner
    if any(map(nn.parameter.is_lazy, network.parameters())):
        raise AzlibError(
            f"{type(network).__name__} has lazy layers, whose shapes are not known: run it once "
            "on an input"
        )
    if any(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()]):
        raise AzlibError(
            f"{type(network).__name__} is on the meta device, so that its weights hold no numbers: "
            "build it on the CPU"
        )
    return network


def _wrapped_in(model: nn.Module) -> object:
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    return getattr(model, "_orig_mod", None)  # of torch.compile


def own_copy(model: nn.Module) -> nn.Module:
    """A copy to be scored: not compiled, with weights in single precision, other numbers kept.

    Raises `AzlibError` for a model that cannot be copied.
    """
    try:
        copied = copy.deepcopy(unwrapped(model))
    except AzlibError:
        raise
    except Exception as error:  # a stranger's module can hold anything
        raise AzlibError(
            f"{type(model).__name__} cannot be copied ({reason(error)}): pass a model as its "
            "constructor returns it"
        ) from error
    for module in modules(copied):
        module._compiled_call_impl = None  # hooks do not see into compiled code
        for name, child in module._modules.items():
            module._modules[name] = getattr(child, "_orig_mod", child)  # of torch.compile
    other = any(p.is_floating_point() and p.dtype != torch.float32 for p in copied.parameters())
    return copied.float() if other else copied


@contextmanager
def out_of_reach(model: nn.Module) -> Iterator[None]:
    """Inside, running a module of this model raises: it is its copy that is scored.

    A copy reaches the original through functions that a module holds, such as a lambda on `self`:
    they are not copied, and what they run would be changed.
    """

    def reached(*_: object) -> None:
        raise AzlibError(
            f"{type(model).__name__} cannot be copied: its forward pass reaches the original by "
            "a function that it holds, such as a lambda: make that a method"
        )

    hooks = [m.register_forward_pre_hook(reached) for m in modules(unwrapped(model))]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def printed(model: nn.Module) -> str:
    """The printed form of a model, which stands for its architecture, without memory addresses.

    Raises `AzlibError` for a model that cannot be printed.
    """
    try:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(model))
    except Exception as error:  # a stranger's extra_repr can fail in any way
        raise AzlibError(
            f"{type(model).__name__} cannot be printed ({reason(error)}): give it a name, "
            'architecture="my net"'
        ) from error


def default_shape(model: nn.Module) -> tuple[int, ...]:
    """The input that a model says it takes, with a batch that fits; else the paper's images.

    timm's models carry it in `pretrained_cfg`, those of Hugging Face in `config`. The batch is 64,
    or as many inputs as together have about a million pixels or tokens.
    """
    single = _said_by(model)
    if single is None:
        return IMAGE_SHAPE
    size = prod(single[1:]) if len(single) > 1 else single[0]
    fits = max(2, min(IMAGE_SHAPE[0], _NUMBERS // max(size, 1)))
    shape = (1 << (fits.bit_length() - 1), *single)
    check_shape(shape)
    return shape


def _said_by(model: nn.Module) -> tuple[int, ...] | None:
    """The shape of one input, without the batch; None where the model says nothing of it."""
    settings = _first_attribute(model, "pretrained_cfg", "default_cfg")
    size = _get(settings, "input_size")
    if isinstance(size, tuple | list) and size:
        return tuple(size)
    config = getattr(model, "config", None)
    reads_images = getattr(model, "main_input_name", "") == "pixel_values"  # but may have tokens
    if isinstance(size := _get(config, "vocab_size"), int) and size > 0 and not reads_images:
        longest = _get(config, "max_position_embeddings") or _get(config, "n_positions")
        return (min(_TOKENS, longest) if isinstance(longest, int) and longest > 0 else _TOKENS,)
    side = _get(config, "image_size")
    if isinstance(side, int) and side > 0:
        side = (side, side)
    if isinstance(side, tuple | list) and len(side) == 2:
        return (_get(config, "num_channels") or 3, *side)
    return None


def _first_attribute(model: nn.Module, *names: str) -> Any:
    return next((found for name in names if (found := getattr(model, name, None))), None)


def _get(settings: Any, name: str) -> Any:
    """A value of settings that may be a dictionary or an object."""
    return settings.get(name) if isinstance(settings, dict) else getattr(settings, name, None)


def vocabulary(model: nn.Module, shape: tuple[int, ...]) -> int | None:
    """How many tokens a model knows, if it reads (B, L) token ids; None if it reads numbers.

    That of its `config`, or else the size of the embedding that is its first layer.
    """
    if len(shape) != 2:
        return None
    size = _get(getattr(model, "config", None), "vocab_size")
    if isinstance(size, int) and size > 0:
        return size
    with_weights = (
        m for m in model.modules() if next(m.parameters(recurse=False), None) is not None
    )
    first = next(with_weights, None)
    return first.num_embeddings if isinstance(first, nn.Embedding) else None


def noise_for(model: nn.Module, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """What a model without data is fed: Gaussian numbers, or token ids drawn evenly."""
    size = vocabulary(model, shape)
    if size is None:
        return gaussian(shape, rng)
    check_shape(shape)
    return torch.randint(size, shape, generator=rng)
