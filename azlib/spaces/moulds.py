"""Networks built fast where their weights are drawn anyway.

Most of the time that a small network takes is spent on what is the same in every network of its
space: constructors that set up modules, and weights that the first step of a score replaces. So a
space makes the parts that recur by `make`. Inside `blank_weights()` a part is then copied from a
mould, which is built once and kept without weights; everywhere else `make` just calls the
constructor.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)

_MOST_MOULDS = 4096  # they hold no weights, some kilobytes each
_blank: ContextVar[str | None] = ContextVar("blank", default=None)  # the device, inside
_EMPTY = {name: type(v) for name, v in vars(nn.Module()).items() if isinstance(v, dict)}
"""The dictionaries of a module: hooks, which a mould has none of, parameters, buffers, modules."""


@contextmanager
def blank_weights(device: str = "cpu") -> Iterator[None]:
    """Inside, what `make` returns holds arbitrary numbers, which have to be drawn before use.

    They lie on the device from the start, so that no arbitrary numbers are copied to a GPU.
    """
    token = _blank.set(device)
    try:
        yield
    finally:
        _blank.reset(token)


def make(kind: Callable[..., M], *arguments: Hashable, channels_last: bool = False) -> M:
    """The module kind(*arguments), copied from a mould inside `blank_weights`.

    All its parameters and buffers must be among those that a score draws and resets in any network:
    those of convolutions, linear layers and batch normalisation. They may lie on a GPU, so that a
    space must not run what it makes.

    Args:
        kind: a class of modules, or a function that returns a module.
        arguments: what it takes.
        channels_last: whether the weights of convolutions lie in the memory in that order, which is
            faster for features that do.
    """
    if _blank.get() is None:
        return _constructed(kind, arguments, channels_last)
    return _copy(_mould(kind, arguments, channels_last))


def repeat(number: int, build: Callable[[], M]) -> list[M]:
    """So many modules as build() returns them, inside `blank_weights` copies of the first."""
    if _blank.get() is None:
        return [build() for _ in range(number)]
    first = build()
    return [first, *(_copy(first) for _ in range(number - 1))]


def _constructed(kind: Callable[..., M], arguments: tuple[Hashable, ...], channels_last: bool) -> M:
    module = kind(*arguments)
    if channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


@lru_cache(_MOST_MOULDS)
def _mould(kind: Callable[..., M], arguments: tuple[Hashable, ...], channels_last: bool) -> M:
    with torch.device("meta"):
        return _constructed(kind, arguments, channels_last)


def _copy(module: M) -> M:
    """A module of the same structure with tensors of its own that are not filled."""
    copied = object.__new__(type(module))
    held = copied.__dict__
    held.update(vars(module))
    for name, kind in _EMPTY.items():
        held[name] = kind()
    held["_parameters"] = {
        name: None if p is None else nn.Parameter(_unfilled(p), p.requires_grad)
        for name, p in module._parameters.items()
    }
    held["_buffers"] = {
        name: None if b is None else _unfilled(b) for name, b in module._buffers.items()
    }
    held["_modules"] = {
        name: None if child is None else _copy(child) for name, child in module._modules.items()
    }
    return copied


def _unfilled(like: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=_blank.get())
