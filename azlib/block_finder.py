"""Primary blocks of a model that names none, found in the graph of one forward pass.

AZ-NAS reads features that the whole signal passes through. So a block is a module whose output lies
on every path from the input to the output: a cut point of the graph that autograd records. Among
the modules that are cut points, the smallest that repeat are chosen, such as the residual blocks of
a network and not its stages. `find` does this; `FoundBlocks` is its answer, reasons included.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from azlib.errors import AzlibError
from azlib.layouts import LAST, Witnesses
from azlib.running import differentiable, forked_rng, forward, main_tensor

_ENOUGH = 0.5  # a choice that holds less than this share of the network is warned of
_Key = tuple[Any, int]  # a tensor in the graph: the node that made it, and which of its results


@dataclass(frozen=True)
class Features:
    """What one module returned in the pass: shape with the batch, and the axis of channels."""

    shape: tuple[int, ...]
    axis: int

    @property
    def channels(self) -> int:
        return self.shape[self.axis]

    @property
    def positions(self) -> int:
        """In one image: 1 for a vector, the pixels of a map, the tokens of a sequence."""
        return math.prod(self.shape[1:]) // self.channels

    def pairs_with(self, later: Features) -> bool:
        """Whether a Jacobian from these features to later ones can be read position by position.

        Maps pair at any two resolutions; tokens have no neighbourhoods, so their number must stay.
        """
        if len(self.shape) != len(later.shape):
            return False
        sequence = len(self.shape) == 3 and LAST in (self.axis, later.axis)
        return not sequence or (self.positions == later.positions and self.axis == later.axis)


@dataclass
class _Call:
    """One module in the pass. A module that runs twice keeps its last call and says so."""

    name: str
    module: nn.Module
    start: int = 0
    end: int = 0
    times: int = 0
    heard: int = 0  # layers that had run before
    macs: float = 0.0  # of the module's own weights
    key: _Key | None = None
    returned: int = 0  # how many nodes the graph had when it returned
    features: Features | None = None
    cut: bool = False

    @property
    def weighted(self) -> bool:
        return self.macs > 0

    @property
    def leaf(self) -> bool:
        return not self.module._modules.keys() - {"parametrizations"}  # those compute its weights

    @property
    def plain_container(self) -> bool:
        return type(self.module).forward is nn.Sequential.forward

    @property
    def pattern(self) -> str:
        """The name with its numbers left out, which modules of one list share."""
        return re.sub(r"\d+", "#", self.name)


@dataclass(frozen=True)
class _Block:
    """A block, and the module whose output is read: the block itself, or its activation."""

    call: _Call
    read: _Call
    repeated: bool  # whether its class stands for what the network repeats

    @property
    def features(self) -> Features:
        assert self.read.features is not None  # a cut point has features
        return self.read.features


@dataclass(frozen=True)
class FoundBlocks:
    """The blocks that were found in a model. Iterating gives their names, for `blocks=`.

    model: the class of the model. names: the blocks in the order they run. table: one row for
    each, with its class, shape, stage and whether it pairs with the block before. left_out: why,
    for the modules with weights that lie in no block. coverage: the share of the multiply-
    accumulates of all layers that the blocks hold.
    """

    model: str
    names: list[str]
    table: pd.DataFrame
    left_out: dict[str, str]
    coverage: float
    macs: float = field(repr=False, default=0.0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def partial(self) -> bool:
        """Whether the blocks hold less than half of the network."""
        return self.coverage < _ENOUGH

    @property
    def summary(self) -> str:
        """One line: how many blocks, how much of the network, and what limits them."""
        unpaired = int((~self.table["paired"]).sum()) - 1
        text = f"{self.model}: {len(self.names)} blocks with {self.coverage:.0%} of the network"
        if unpaired > 0:
            text += f", {unpaired} without a pair before them"
        if self.partial:
            shown = "; ".join(f"{name}: {why}" for name, why in list(self.left_out.items())[:3])
            text += f". ONLY IN PART: name blocks=[...] by hand if you can. Left out: {shown}"
        return text

    def __repr__(self) -> str:
        lines = [self.summary, "", self.table.to_string()]
        if self.left_out:
            lines += ["", "left out:", *(f"  {n}: {why}" for n, why in self.left_out.items())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        left = "".join(f"<li><code>{n}</code>: {why}</li>" for n, why in self.left_out.items())
        return f"<p>{self.summary}</p>{self.table.to_html()}<p>left out</p><ul>{left}</ul>"


def find(model: nn.Module, inputs: Tensor) -> FoundBlocks:
    """The primary blocks of a model, by running its first two inputs once in evaluation mode.

    Args:
        model: any network; nothing of it is changed, not even its mode.
        inputs: (B, ...), on the model's device; token ids are integers.

    Raises:
        AzlibError: for a model that does not run, whose output does not depend on its input by
            differentiable operations, or that has fewer than two blocks.
    """
    was_training = {module: module.training for module in model.modules()}
    try:
        with forked_rng(inputs.device):
            model.eval()
            calls, output = _observe(model, inputs[:2])
    finally:
        for module, mode in was_training.items():
            module.training = mode
    chosen = _without_ends(_Choice(calls).blocks(), output)
    if len(chosen) < 2:
        raise AzlibError(_too_few(model, calls, chosen))
    return _described(model, calls, chosen)


# --- one pass ------------------------------------------------------------------------------


def _observe(model: nn.Module, inputs: Tensor) -> tuple[dict[str, _Call], _Key]:
    """Every module's call in one pass, cut points marked, and the main output's place."""
    calls = {name: _Call(name, module) for name, module in model.named_modules() if name}
    witnesses = Witnesses()
    sources: list[Any] = []
    clock = iter(range(10**9))

    def start(call: _Call) -> None:
        call.start, call.times, call.heard = next(clock), call.times + 1, len(witnesses)

    def end(call: _Call, output: Any) -> None:
        call.end = next(clock)
        tensor = main_tensor(output)
        if tensor is None:
            return
        call.macs += _own_macs(call.module, tensor)
        if tensor.grad_fn is not None and 2 <= tensor.dim() <= 5:
            shape = tuple(tensor.shape)
            call.key = (tensor.grad_fn, tensor.output_nr)
            call.returned = _number_of_node(tensor)
            call.features = Features(shape, witnesses.read(shape, call.heard))

    def source(tensor: Tensor) -> Tensor:
        fresh = tensor.detach().requires_grad_().clone()  # a copy, as models write into inputs
        sources.append(fresh.grad_fn)
        return fresh

    def embed(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor | None:
        reads_ids = bool(arguments) and arguments[0].shape == inputs.shape
        return source(output) if reads_ids and torch.equal(arguments[0], inputs) else None

    numbers = inputs.is_floating_point()
    with differentiable(model, []), witnesses.listening(model), ExitStack() as hooks:
        for call in calls.values():
            module = call.module
            if isinstance(module, nn.Embedding) and not numbers:
                hooks.callback(module.register_forward_hook(embed).remove)
            before = module.register_forward_pre_hook(lambda *_, call=call: start(call))
            after = module.register_forward_hook(lambda _, __, out, call=call: end(call, out))
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        result = forward(model, source(inputs) if numbers else inputs)
    main = main_tensor(result)
    if main is None or main.grad_fn is None or not sources:
        raise AzlibError(
            f"{type(model).__name__} has no differentiable path from its input to its output, so "
            "no primary blocks can be found: name them with blocks=[...]"
        )
    output = (main.grad_fn, main.output_nr)
    cuts = cut_points(output, sources)
    for call in calls.values():
        # What was read before the module returned it cannot be replaced where it returns.
        call.cut = call.times == 1 and cuts.get(call.key, -1) > call.returned
    return calls, output


def _number_of_node(tensor: Tensor) -> int:
    """The number of a node made now; those made later have higher ones."""
    node: Any = tensor.clone().grad_fn
    return node._sequence_nr() if node is not None else 0


def _own_macs(module: nn.Module, output: Tensor) -> float:
    """Multiply-accumulates per input of the weights that a module holds itself, about."""
    if isinstance(module, nn.Embedding | nn.modules.batchnorm._NormBase | nn.LayerNorm):
        return 0.0
    sides = output.shape[2:] if isinstance(module, nn.modules.conv._ConvNd) else output.shape[1:-1]
    own = module.parameters(recurse=False)
    matrices = [p for p in own if sum(side > 1 for side in p.shape) > 1]  # no scales, no tokens
    return float(math.prod(sides) * sum(matrix.numel() for matrix in matrices))


def cut_points(output: _Key, sources: list[Any]) -> dict[_Key | None, float]:
    """The tensors that every path of the autograd graph from the sources to the output passes.

    Each with the number of the first node that reads it; infinity for the output.

    In an order where every node comes after those it reads, a node is a cut point if no edge leads
    from before it to behind it; of its results, the one is meant that is read.
    """
    order = _from_the_input(output[0], set(sources))
    position = {node: i for i, node in enumerate(order)}
    furthest = [0] * len(order)  # where the last reader of each node stands
    read: list[set[int]] = [set() for _ in order]  # which of its results are read
    earliest = [math.inf] * len(order)  # the number of the first node that reads it
    for i, node in enumerate(order):
        for before, number in node.next_functions:
            if before in position:
                furthest[position[before]] = i
                read[position[before]].add(number)
                earliest[position[before]] = min(earliest[position[before]], node._sequence_nr())
    read[-1].add(output[1])
    first = max(position[node] for node in sources if node in position)
    found: dict[_Key | None, float] = {}
    reach = first
    for i, node in enumerate(order):
        if i >= first and reach <= i and len(read[i]) == 1:
            found[node, next(iter(read[i]))] = earliest[i]
        reach = max(reach, furthest[i])
    return found


def _from_the_input(last: Any, sources: set[Any]) -> list[Any]:
    """The nodes between the sources and the last one, in an order that respects the edges."""
    order: list[Any] = []
    leads: dict[Any, bool] = {}  # whether a node reaches a source; only set when it is done
    stack = [(last, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            before = [n for n, _ in node.next_functions if n is not None]
            leads[node] = node in sources or any(leads.get(n, False) for n in before)
            if leads[node]:
                order.append(node)
        elif node not in leads:
            leads[node] = False
            stack.append((node, True))
            stack += [(n, False) for n, _ in node.next_functions if n and n not in leads]
    return order


# --- the choice ----------------------------------------------------------------------------


class _Choice:
    """Walks down the tree of modules that are cut points, to the smallest that repeat.

    own: modules of a class of their own, which are no containers. whole: the patterns of those that
    are one block, as no layer inside is a cut point, as in a residual block, or as the network
    repeats the class and it is a chain of layers, such as a depthwise and a pointwise convolution.
    In a network that repeats such a class, a container of a few layers is a block as well: people
    who write blocks as classes put the layers of a stem into a container.
    """

    def __init__(self, calls: dict[str, _Call]):
        self.calls = calls
        self.layers = [call for call in calls.values() if call.weighted]
        self.cuts = [call for call in calls.values() if call.cut]
        heavy = [c for c in self.cuts if self._layers_in(c)]
        self.heavy = {call.name for call in heavy}
        self.own = [call for call in heavy if not (call.leaf or call.plain_container)]
        times = Counter(call.pattern for call in self.own)
        self.repeats = any(number > 1 for number in times.values())
        self.whole = {
            call.pattern
            for call in self.own
            if len(self._layers_in(call)) > 1
            and (not self._parts(call.name) or (times[call.pattern] > 1 and self._is_chain(call)))
        }

    def blocks(self) -> list[_Block]:
        """The blocks in the order they run."""
        found: list[_Call] = []
        for part in self._parts(""):
            found += self._split(part)
        chosen = {call.name for call in found}
        # A block without weights, like a skip connection, is a block where its neighbours are.
        found += [
            call
            for call in self.cuts
            if call.pattern in self.whole
            and not type(call.module).__module__.startswith("torch.nn")
            and not any(_inside(call.name, name) for name in chosen)
        ]
        found.sort(key=lambda call: call.end)
        return [_Block(call, self._read(call), call.pattern in self.whole) for call in found]

    def _layers_in(self, call: _Call) -> list[_Call]:
        return [layer for layer in self.layers if _inside(layer.name, call.name)]

    def _parts(self, name: str) -> list[_Call]:
        """The largest cut points with weights inside a module, in the order they run."""
        inside = [n for n in self.heavy if n != name and _inside(n, name)]
        largest = [n for n in inside if not any(n != m and _inside(n, m) for m in inside)]
        return sorted((self.calls[n] for n in largest), key=lambda call: call.end)

    def _is_chain(self, call: _Call) -> bool:
        """Whether a module holds single layers, one after the other, and nothing beside them."""
        held = [self._layers_in(part) for part in self._parts(call.name)]
        return all(len(layers) == 1 for layers in held) and len(held) == len(self._layers_in(call))

    def _is_stem(self, call: _Call) -> bool:
        """Whether a container holds layers only, few of them, where blocks are of other classes."""
        few = 2 * len(self._layers_in(call)) <= len(self.layers)
        layers_only = not any(_inside(own.name, call.name) for own in self.own)
        return call.plain_container and few and layers_only and self.repeats

    def _split(self, call: _Call) -> list[_Call]:
        """A module as one block, or the blocks inside it."""
        if self._is_stem(call):
            return [call]
        parts = self._parts(call.name)
        composite = any(not part.leaf for part in parts)
        if not (len(parts) > 1 or composite):
            return [call]
        if call.pattern in self.whole and not call.plain_container:
            return [call]
        found = [block for part in parts for block in self._split(part)]
        rest = [layer for layer in self._layers_in(call) if layer.start > parts[-1].end]
        return [*found, call] if rest else found

    def _read(self, layer: _Call) -> _Call:
        """The normalisation or activation that follows a single layer, else the block itself."""
        last = layer
        if not layer.leaf:
            return layer
        for call in sorted(self.cuts, key=lambda call: call.end):
            if call.end <= last.end or not _as_many(call.features, layer.features):
                continue
            between = [other for other in self.layers if last.end < other.start < call.end]
            if between or _parent(call.name) != _parent(layer.name):
                break
            last = call
        return last


def _as_many(a: Features | None, b: Features | None) -> bool:
    """Whether two features have the same positions and channels, in any layout."""
    return (
        a is not None and b is not None and (a.positions, a.channels) == (b.positions, b.channels)
    )


def _inside(name: str, container: str) -> bool:
    return not container or name == container or name.startswith(container + ".")


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _without_ends(blocks: list[_Block], output: _Key) -> list[_Block]:
    """The blocks without those of the head, and without a stem whose features nothing matches."""
    head = [i for i in range(1, len(blocks)) if _pooled(blocks[i - 1], blocks[i])]
    blocks = blocks[: head[0]] if head else blocks
    if blocks and blocks[-1].read.key == output and blocks[-1].call.leaf:
        blocks = blocks[:-1]  # the classifier, or the last layer of a decoder
    pairs = [a.features.pairs_with(b.features) for a, b in pairwise(blocks)]
    while pairs and not pairs[0]:
        blocks, pairs = blocks[1:], pairs[1:]
    while pairs and not pairs[-1]:
        blocks, pairs = blocks[:-1], pairs[:-1]
    return blocks


def _pooled(before: _Block, block: _Block) -> bool:
    """Whether a global pooling lies before a block, so that the head of the network begins."""
    shrinks = block.features.positions == 1 < before.features.positions
    return shrinks and not block.repeated


# --- what is told --------------------------------------------------------------------------


def _too_few(model: nn.Module, calls: dict[str, _Call], chosen: list[_Block]) -> str:
    """Why fewer than two blocks were found, and what to name instead."""
    layers = [call for call in calls.values() if call.weighted]
    parallel = [c.name for c in calls.values() if c.features and not c.cut and c.times == 1]
    text = (
        f"{type(model).__name__} has {len(chosen)} block{'s' * (len(chosen) != 1)} that every path "
        "passes; 2 are needed"
    )
    if not layers:
        return f"{text}: it holds no modules with weights"
    top = [name for name in parallel if _parent(name) not in parallel]
    if top:
        text += f" ({', '.join(top[:4])}{', ...' if len(top) > 4 else ''} run in parallel)"
    known = [call.name for call in calls.values() if call.features and call.times == 1][:8]
    return (
        f"{text}: name two or more modules with blocks=[...], or in an attribute primary_blocks of "
        f"the model, choosing from {', '.join(known)}"
    )


def _described(model: nn.Module, calls: dict[str, _Call], chosen: list[_Block]) -> FoundBlocks:
    """The answer, with a row for each block and a reason for what is in none."""
    rows, stage = [], 1
    for i, block in enumerate(chosen):
        features, before = block.features, chosen[i - 1].features if i else None
        if before and (before.shape != features.shape):
            stage += 1
        rows.append(
            {
                "class": type(block.call.module).__name__,
                "shape": "×".join(map(str, features.shape[1:])),
                "channels": features.channels,
                "stage": stage,
                "paired": bool(before and before.pairs_with(features)),
            }
        )
    names = [block.read.name for block in chosen]
    held = [block.call.name for block in chosen]
    layers = [call for call in calls.values() if call.weighted]
    covered = [layer for layer in layers if _covered(layer, calls, held)]
    total = sum(layer.macs for layer in layers)
    return FoundBlocks(
        type(model).__name__,
        names,
        pd.DataFrame(rows, index=pd.Index(names, name="block")),
        _left_out(layers, covered, calls, chosen),
        sum(layer.macs for layer in covered) / total if total else 0.0,
        total,
    )


def _covered(layer: _Call, calls: dict[str, _Call], names: list[str]) -> bool:
    """Whether a layer lies in a block, or in the smallest module that was split into blocks."""
    if any(_inside(layer.name, name) for name in names):
        return True
    around = _parent(layer.name)
    while around:
        call = calls[around]
        if call.cut and any(_inside(name, around) for name in names):
            return not call.plain_container
        around = _parent(around)
    return False


def _left_out(
    layers: list[_Call], covered: list[_Call], calls: dict[str, _Call], chosen: list[_Block]
) -> dict[str, str]:
    """The largest modules whose layers all lie in no block, each with the reason."""
    inside = {layer.name for layer in covered}
    reasons: dict[str, str] = {}
    for layer in layers:
        if layer.name in inside or any(_inside(layer.name, name) for name in reasons):
            continue
        name = layer.name
        while (above := _parent(name)) and not any(_inside(n, above) for n in inside):
            name = above
        reasons[name] = _why(layer, chosen)
    return reasons


def _why(call: _Call, chosen: list[_Block]) -> str:
    if call.times > 1:
        return "runs more than once in a pass"
    if call.start > chosen[-1].read.end:
        return "head: after the last block"
    if call.cut and call.end < chosen[0].read.end:
        return "stem: its features do not pair with the first block's"
    if call.features is None:
        return "returns no features of 2 to 5 dimensions"
    return "runs in parallel: not every path passes through its output"
