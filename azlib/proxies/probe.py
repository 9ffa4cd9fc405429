"""One network at one seed: what proxies read, computed once for all that ask."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from azlib.block_finder import FoundBlocks, find
from azlib.errors import AzlibError, AzlibWarning, out_of_memory, reason
from azlib.inputs import generator, seed_all
from azlib.inputs.images import batch as source_batch
from azlib.inputs.initialisation import inherit, initialise
from azlib.proxies.registry import Proxy
from azlib.running import (
    differentiable,
    forked_rng,
    forward,
    laid_out,
    logits_of,
    modules,
    unfused,
)
from azlib.settings import BY_NETWORK, ScoreSettings
from azlib.trace import Trace, trace

_Norm = nn.modules.batchnorm._NormBase
_LONG = 1e11  # multiply-accumulates of one pass of the batch, about a minute of scoring


@dataclass
class Probe:
    """One network at one seed. What several proxies read is computed once.

    model: a network on the device of the settings; `prepare` draws its weights.
    inputs: (B, ...), the noise that proxies read.
    settings: what the scores depend on besides architecture and seed.
    architecture, seed: together they fix every random stream.
    blocks: names of the primary blocks, by default those that the model names itself, or else
        those that are found in it.
    macs: multiply-accumulates per image, counted when not given.
    batches: the user's own images with labels, one (images, labels) pair per batch; by default
        they come from `settings.labelled_images`.
    """

    model: nn.Module
    inputs: Tensor
    settings: ScoreSettings
    architecture: str = ""
    seed: int = 1
    blocks: Iterable[str] | None = None
    macs: float | None = None
    batches: Sequence[tuple[Tensor, Tensor]] | None = None
    _drawn: str | None = field(default=None, init=False)  # the weights that the model holds now
    _fresh: bool = field(default=False, init=False)  # whether nothing ran since it was prepared
    _wanted: str | None = field(default=None, init=False)  # the initialisation of who asks now
    _guest: bool = field(default=False, init=False)  # whether that is a proxy of the user's own
    _kept: dict[tuple, Any] = field(default_factory=dict, init=False)

    def run(self, proxy: Proxy) -> float:
        """The value of one proxy, on the network as the proxy wants it.

        Raises `AzlibError` where it fails, where it returns anything but a number, and where a
        proxy of the user's own changes the weights, which the others would then read.
        """
        ours = proxy.comes_with_azlib
        usual = self.settings.init
        self._wanted = usual and (proxy.init or usual)
        self._guest, self._fresh = not ours, False
        self.seed_forward()
        if not (ours and proxy.shared):  # what those share has prepared it
            self.prepare(proxy.init)
        before = [] if ours else [held.detach().clone() for held in self._read_by_others()]
        try:
            value = _number(proxy, proxy.function(self))
        except AzlibError as error:
            # Checks that several proxies share do not know for which one they are made.
            if ours and "this proxy" in str(error):
                told = str(error).replace("this proxy", f"the proxy {proxy.name}")
                raise AzlibError(told) from error
            raise
        except Warning:
            raise
        except Exception as error:
            # A stranger's network can lack what a proxy needs, such as a second derivative, and a
            # stranger's proxy can fail in any way.
            if out_of_memory(error):
                raise AzlibError("out of memory: lower the batch or the resolution") from error
            raise AzlibError(
                f"{proxy.name} cannot be computed for {type(self.model).__name__}: {reason(error)}"
            ) from error
        if not ours:
            self._check(proxy, before, value)
        return value

    def _read_by_others(self) -> list[Tensor]:
        return [*self.model.parameters(), self.inputs]

    def _check(self, proxy: Proxy, before: list[Tensor], value: float) -> None:
        """Undoes and refuses what a proxy of the user's own must not do, and warns of NaN.

        before: copies of the weights and the input, made before the proxy ran.
        """
        self.model.zero_grad(set_to_none=True)  # or the next proxy would add to them
        after = self._read_by_others()
        if len(before) != len(after) or not all(map(_equal, before, after)):
            raise AzlibError(
                f"the proxy {proxy.name!r} changes the weights of the network or its input, which "
                "others read: let it work on copy.deepcopy(probe.model)"
            )
        if math.isnan(value):
            warnings.warn(
                f"the proxy {proxy.name!r} is NaN for {type(self.model).__name__}: NaN ranks last",
                AzlibWarning,
                stacklevel=3,
            )

    def prepare(self, init: str | None = None) -> None:
        """Draws the weights that a proxy asks for, and undoes what passes did to the buffers.

        init: an initialisation, or None for that of the settings. Where the settings keep the
        network's own weights (`init=None`), nothing is drawn whatever a proxy asks for, and running
        statistics become what they were; elsewhere they become as good as new.
        """
        usual = self.settings.init
        for module, name, first in self._first_buffers:
            module._buffers[name] = first.clone()
        wanted = init or usual
        if wanted is not None and usual is not None:
            if wanted != self._drawn:
                if usual in BY_NETWORK and usual != wanted:  # what the method does not draw
                    self._draw(usual)
                self._draw(wanted)
                self._drawn = wanted
            for module in self._modules:
                if isinstance(module, _Norm):
                    module.reset_running_stats()
        self.train(True)
        self._fresh = True

    def seed_forward(self) -> None:
        """Seeds what the model itself draws while it runs, for example in dropout."""
        seed_all(self.stream("forward").initial_seed(), self.settings.device)

    def train(self, mode: bool) -> None:
        """What `model.train` does, without looking for the modules again."""
        for module in self._modules:
            if module.training is not mode:
                module.training = mode

    @cached_property
    def _modules(self) -> list[nn.Module]:
        return modules(self.model)

    @cached_property
    def _first_buffers(self) -> list[tuple[nn.Module, str, Tensor]]:
        """The buffers that a pass may change, by module and name, and what they held at first.

        Running statistics are not among them where they are reset.
        """
        reset = self.settings.init is not None
        return [
            (module, name, buffer.clone())
            for module in self._modules
            if module._buffers and not (reset and isinstance(module, _Norm))
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]

    def _draw(self, method: str) -> None:
        """Gives the model the weights of an initialisation, or those of its space's supernet."""
        if method == "supernet":
            inherit(self.model, self.seed)
        else:
            initialise(self.model, method, self.stream("weights"))

    def stream(self, name: str) -> torch.Generator:
        """The random stream of this network and seed that bears a name."""
        return generator(self.seed, self.architecture, name)

    def once(self, function: Callable[[Probe], Any]) -> Any:
        """function(self), computed for the first proxy that asks and kept for the others.

        It finds the network as `prepare` leaves it, whoever asks and whatever ran before. Proxies
        with another initialisation have values of their own.
        """
        key = function, self._wanted
        if key not in self._kept:
            self._kept[key] = self._between(function) if self._guest else self._now(function)
        return self._kept[key]

    def _now(self, function: Callable[[Probe], Any]) -> Any:
        if not self._fresh:
            self.prepare(self._wanted)
        try:
            return function(self)
        finally:
            self._fresh = False

    def _between(self, function: Callable[[Probe], Any]) -> Any:
        """function(self) while a proxy of the user's own runs, who must not notice."""
        mode = self.model.training
        buffers = [(m, name, b) for m in self._modules for name, b in m._buffers.items()]
        for module, name, buffer in buffers:
            module._buffers[name] = None if buffer is None else buffer.clone()
        with forked_rng(self.settings.device):
            self.seed_forward()
            self._fresh = self._guest = False
            try:
                return self._now(function)
            finally:
                self._guest = True
                self.train(mode)
                for module, name, buffer in buffers:
                    module._buffers[name] = buffer

    @property
    def trace(self) -> Trace:
        """Features and gradients at the primary blocks, which the proxies of AZ-NAS read."""
        return self.once(_traced)

    @property
    def cost(self) -> float:
        """Multiply-accumulates per image."""
        return float(self.macs) if self.macs is not None else self.once(_counted)

    @cached_property
    def classes(self) -> int:
        """K, the number of logits. Raises `AzlibError` unless the network returns (B, K), K > 1."""
        mode = self.model.training
        self.train(False)
        with torch.no_grad():
            output = forward(self.model, self.inputs[:2])
        self.train(mode)
        logits = logits_of(output)
        if logits is None or logits.dim() != 2 or logits.shape[1] < 2:
            shape = type(output).__name__ if logits is None else tuple(logits.shape)
            raise AzlibError(
                f"this proxy needs a classifier that returns (batch, classes) with at least two "
                f"classes, the network returns {shape}"
            )
        return logits.shape[1]

    def batch(self, number: int = 0) -> tuple[Tensor, Tensor]:
        """Batch `number` of real images, shaped like `inputs`, and their labels (B,), int64."""
        if not self.inputs.is_floating_point() and self.batches is None:
            raise AzlibError(
                "this proxy reads labelled images, the network takes token ids: give "
                "labelled_images=[(ids, labels), ...]"
            )
        if self.batches is not None:
            x, y = given_batch(self.batches, number, self.classes)
        else:
            source, rng = self.settings.labelled_images or "patches", self.stream(f"images{number}")
            x, y = source_batch(source, tuple(self.inputs.shape), self.classes, rng)
        return laid_out(x.to(self.inputs.device)), y.to(self.inputs.device)


def _equal(a: Tensor, b: Tensor) -> bool:
    same = a.shape == b.shape and a.dtype == b.dtype
    return same and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _traced(probe: Probe) -> Trace:
    model, settings, blocks = probe.model, probe.settings, probe.blocks
    if blocks is None and not hasattr(model, "primary_blocks"):
        blocks = find(model, probe.inputs)
        _warn_of(blocks, probe.inputs)
    probe.train(settings.batch_statistics)
    dtype: torch.dtype = getattr(torch, settings.precision)
    return trace(model, probe.inputs, probe.stream("signs"), blocks, dtype)


def _counted(probe: Probe) -> float:
    probe.train(False)  # in which nothing is left out at random
    return count_macs(probe.model, probe.inputs)


def _number(proxy: Proxy, value: object) -> float:
    """What a proxy returned, as a float. Raises `AzlibError` for anything but one real number."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value.detach())
    if isinstance(value, Real):
        return float(value)
    what = f"a {type(value).__name__}"
    hint = ""
    if value is None:
        what, hint = "nothing", ", does it end without return?"
    elif isinstance(value, Tensor):
        what, hint = f"a tensor of shape {tuple(value.shape)}", ", as in float(tensor.sum())"
    raise AzlibError(f"the proxy {proxy.name!r} returned {what}: expected one number{hint}")


def _warn_of(found: FoundBlocks, inputs: Tensor) -> None:
    """Says when blocks hold little of the network, and when a pass of the batch takes long."""
    if found.partial:
        warnings.warn(found.summary, AzlibWarning, stacklevel=2)
    if found.macs * len(inputs) > _LONG:
        few = max(2, len(inputs) // 8)
        warnings.warn(
            f"{found.model}: {len(inputs)} inputs of {found.macs / 1e9:.1f} GMACs each can take "
            f"minutes on a CPU; a batch of {few} is quicker (batch={few}, or --batch {few})",
            AzlibWarning,
            stacklevel=2,
        )


def given_batch(
    batches: Sequence[tuple[Tensor, Tensor]], number: int, classes: int
) -> tuple[Tensor, Tensor]:
    """One of the user's own batches. Raises `AzlibError` for a missing one and missing labels."""
    pairs = list(batches)
    if number >= len(pairs):
        raise AzlibError(
            f"this proxy reads {number + 1} batches of images: labelled_images holds {len(pairs)}"
        )
    pair = pairs[number]
    if not isinstance(pair, tuple | list) or len(pair) != 2 or pair[1] is None:
        raise AzlibError("this proxy needs labels: give labelled_images=[(images, labels), ...]")
    x, y = pair
    if len(x) != len(y) or y.dtype != torch.int64 or y.min() < 0 or y.max() >= classes:
        raise AzlibError(f"labels must be one integer from 0 to {classes - 1} for each image")
    return x, y


def count_macs(model: nn.Module, inputs: Tensor) -> float:
    """Multiply-accumulates per image of convolutions and matrix products, by running two images.

    The products of attention and of recurrent layers are among them.
    """
    # The counter stumbles over parameters that want a gradient and are passed to modules.
    counter = FlopCounterMode(display=False)
    with differentiable(model, []), torch.no_grad(), unfused(model), counter:
        forward(model, inputs[:2])
    return counter.get_total_flops() / 2 / 2  # two FLOPs a MAC, two images
