"""Proxies that read the graph of a network: which operations there are and what feeds what.

The network runs on two random images while every operation on something made from the image is
recorded. An operation is alive if it passes the image on: it returns different results for the
two images, and a chain of such operations leads from it to the output. So a multiplication by zero
kills what comes behind it, and what leads only into dead operations is dead too. Results for two
images are compared with each other, not with zero: an operation whose inputs do not depend on the
image returns the same twice, whatever biases and shifts of normalisation layers add, so the rule
holds for trained networks as well.

The graph is that of the run, not of the Python code: any network that runs has one. It runs in
evaluation mode, where no image sees another and nothing is dropped. Limits: an operation that is
alive keeps all its inputs alive, even one that it ignores; a ReLU that is silent for both images
counts as dead; writing into a part of a tensor (`x[0] += y`) is not followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from azlib.errors import AzlibError
from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.running import forward, unfused


@dataclass(frozen=True)
class Operation:
    """One operation of a graph.

    inputs: positions of the operations whose results it reads, one for each time it reads them.
    macs: multiply-accumulates for one image. layer: whether it multiplies by trained weights, as
    convolutions and linear layers do. spatial: whether it combines several positions in a way that
    is learned: a convolution that is not 1×1, or a product of two results, of which attention has
    two. pooling: whether it is a pooling, or a convolution with weights that are not trained.
    """

    inputs: tuple[int, ...]
    macs: float = 0.0
    layer: bool = False
    spatial: bool = False
    pooling: bool = False


# --- recording -----------------------------------------------------------------------------


def live_graph(probe: Probe) -> list[Operation]:
    """The live operations in the order they run: first the image, last the output; [] if none is.

    MACs are those at the shape of `probe.inputs`, whose first two images are run. Raises
    `AzlibError` when the model does not run, runs other operations for the second image, or returns
    numbers that are not finite.
    """
    probe.model.eval()
    first, second = (_Recorder(probe.model, probe.inputs[i : i + 1]) for i in (0, 1))
    if first.operations != second.operations:
        raise AzlibError("the graph proxies need a network that runs the same operations for "
                         "every image; this one does not")  # fmt: skip
    passing = [
        not all(map(torch.equal, a, b)) for a, b in zip(first.results, second.results, strict=True)
    ]
    return prune(first.operations, passing)


def prune(operations: list[Operation], passing: list[bool]) -> list[Operation]:
    """Those of the operations from which a chain of passing ones leads to the last, renumbered."""
    alive = [False] * len(operations)
    alive[-1] = passing[-1]
    for position in reversed(range(len(operations))):
        if alive[position]:
            for source in operations[position].inputs:
                alive[source] = passing[source]
    kept = [position for position, is_alive in enumerate(alive) if is_alive]
    number = {position: i for i, position in enumerate(kept)}
    inputs = ([i for i in operations[position].inputs if alive[i]] for position in kept)
    return [
        replace(operations[position], inputs=tuple(number[i] for i in sources))
        for position, sources in zip(kept, inputs, strict=True)
    ]


class _Recorder(TorchDispatchMode):
    """Runs a model on one image and records the operations on tensors made from it.

    operations: the image, all that follows, and the output, which reads what the model returns.
    results: for each, copies of the tensors it returned (a later one may write into the originals).
    """

    def __init__(self, model: torch.nn.Module, image: Tensor):
        super().__init__()
        self.operations = [Operation(())]
        self.results = [[image]]
        self._made_by = {id(image): 0}
        self._weights = {id(parameter) for parameter in model.parameters()}
        self._kept: list[Any] = []  # an id means a tensor only as long as the tensor exists
        with torch.no_grad(), unfused(model), self:
            output = _tensors(forward(model, image))
        if not all(tensor.isfinite().all() for tensor in output):
            raise AzlibError("the network returns numbers that are not finite: the graph proxies "
                             "cannot tell its live operations")  # fmt: skip
        self.operations.append(Operation(self._sources(output)))
        self.results.append(output)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        results = function(*args, **(kwargs or {}))
        given, made = _tensors(args), _tensors(results)
        self._kept.append(made)
        weighted = any(id(tensor) in self._weights for tensor in given)
        if sources := self._sources(given):
            self._made_by |= dict.fromkeys(map(id, made), len(self.operations))
            self.operations.append(
                _operation(function._overloadpacket, args, results, sources, weighted)
            )
            self.results.append([tensor.clone() for tensor in made])
        elif weighted:  # a transposed weight is a weight
            self._weights |= {id(tensor) for tensor in made}
        return results

    def _sources(self, tensors: list[Tensor]) -> tuple[int, ...]:
        return tuple(self._made_by[id(t)] for t in tensors if id(t) in self._made_by)


def _operation(
    kind: Any, args: tuple, results: Any, sources: tuple[int, ...], weighted: bool
) -> Operation:
    """What an ATen operation is to the proxies. args: of a convolution, the image and the weights.

    MACs by PyTorch's own formulas, those of `azlib.proxies.count_macs`.
    """
    convolution = kind is torch.ops.aten.convolution
    fixed_filter = convolution and not weighted and len(sources) == 1
    if fixed_filter or "pool" in kind.__name__:
        return Operation(sources, pooling=True)
    if kind not in flop_registry:
        return Operation(sources)
    macs = flop_registry[kind](*args, out_val=results) / 2
    kernel = convolution and weighted and args[1][0, 0].numel() > 1
    spatial = kernel or (not weighted and len(sources) > 1)
    return Operation(sources, macs, weighted, spatial)


def _tensors(values: Any) -> list[Tensor]:
    """The tensors among arguments or results, in lists and tuples too."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return []
    return [tensor for value in values for tensor in _tensors(value)]


# --- paths ---------------------------------------------------------------------------------


def extreme(
    graph: list[Operation], length: Callable[[Operation], int], choose: Callable = max
) -> float:
    """The largest (or with `min` the smallest) length of a path from the image to the output.

    length: of one operation; a path is as long as its operations together. NaN without a path.
    """
    lengths: list[int] = []
    for operation in graph:
        before = choose((lengths[i] for i in operation.inputs), default=0)
        lengths.append(before + length(operation))
    return float(lengths[-1]) if graph else math.nan


def mean(graph: list[Operation], length: Callable[[Operation], int]) -> float:
    """The mean length over all paths from the image to the output; NaN without a path.

    By counting: the paths that end in an operation, and the sum of their lengths. Both are
    integers of any size, so a network of many branches does not overflow.
    """
    paths: list[int] = []
    sums: list[int] = []
    for operation in graph:
        count = sum(paths[i] for i in operation.inputs) or 1
        paths.append(count)
        sums.append(sum(sums[i] for i in operation.inputs) + count * length(operation))
    return sums[-1] / paths[-1] if graph else math.nan


def _layers(operation: Operation) -> int:
    return int(operation.layer)


def _sharpness(operation: Operation) -> int:
    return int(operation.spatial) - int(operation.pooling)


# --- proxies -------------------------------------------------------------------------------


@proxy("params", "number of parameters", shared=True)
def params(probe: Probe) -> float:
    """Number of parameters of the network as it is built, those on dead paths included.

    The lean networks that the cell spaces build for scoring have no dead paths; the counts of the
    benchmarks, which az-graph was chosen with, belong to lean=False.
    """
    return float(sum(parameter.numel() for parameter in probe.model.parameters()))


@proxy("trainable_layers", "Tybl & Neumann, CVPR 2025", shared=True)
def trainable_layers(probe: Probe) -> float:
    """ℵ, the number of parameter tensors (not layers: a convolution with its normalisation has 3),
    those on dead paths included, of which lean networks have none (see `params`)."""
    return float(len(list(probe.model.parameters())))


@proxy("live_macs", "azlib", shared=True)
def live_macs(probe: Probe) -> float:
    """Multiply-accumulates per image of live operations; fixed filters do not count. 0 if none is.

    Complexity as a network needs it: weights that the image or the output never meets do nothing.
    """
    return sum(operation.macs for operation in probe.once(live_graph))


@proxy("live_layers", "azlib", shared=True)
def live_layers(probe: Probe) -> float:
    """Number of live layers."""
    return float(sum(operation.layer for operation in probe.once(live_graph)))


@proxy("live_paths", "azlib", shared=True)
def live_paths(probe: Probe) -> float:
    """ln of the number of paths from the image to the output; NaN without one.

    Parallel branches make more ways for the signal; the logarithm adds up over blocks in series.
    """
    paths: list[int] = []
    for operation in probe.once(live_graph):
        paths.append(sum(paths[i] for i in operation.inputs) or 1)
    return math.log(paths[-1]) if paths else math.nan


@proxy("effective_depth", "azlib", shared=True)
def effective_depth(probe: Probe) -> float:
    """Layers on the longest live path; NaN without one."""
    return extreme(probe.once(live_graph), _layers)


@proxy("mean_depth", "azlib", shared=True)
def mean_depth(probe: Probe) -> float:
    """Layers on a live path, in the mean over all live paths; NaN without one.

    A network of residual blocks is an ensemble of paths, most of them much shorter than the
    longest (Veit et al., NeurIPS 2016).
    """
    return mean(probe.once(live_graph), _layers)


@proxy("shortest_path", "azlib", shared=True)
def shortest_path(probe: Probe) -> float:
    """Minus the layers on the shortest live path, the highway of the gradient; NaN without one.

    Higher is better, so fewer layers: on a short path a gradient meets few Jacobians (residual
    connections, He et al., CVPR 2016). It speaks against deep networks unless they have shortcuts,
    so it is of use beside proxies that reward depth, not alone.
    """
    return -extreme(probe.once(live_graph), _layers, min)


@proxy("fewest_poolings", "azlib", shared=True)
def fewest_poolings(probe: Probe) -> float:
    """Minus the poolings on the live path that has the fewest; NaN without one.

    Whether detail can get through a network: what is averaged away is lost to all layers behind.
    """
    return -extreme(probe.once(live_graph), lambda operation: int(operation.pooling), min)


@proxy("sharp_depth", "azlib", shared=True)
def sharp_depth(probe: Probe) -> float:
    """Spatial operations minus poolings on the live path where that is most; NaN without a path.

    What a network can make of several positions: a convolution combines them in a way that is
    learned, and so does attention; a pooling in one way only and at the cost of detail. What every
    path must pass (the pooling of a stem, say) shifts all alike.
    """
    return extreme(probe.once(live_graph), _sharpness)


@proxy("mean_sharp_depth", "azlib", shared=True)
def mean_sharp_depth(probe: Probe) -> float:
    """`sharp_depth` in the mean over all live paths; NaN without one."""
    return mean(probe.once(live_graph), _sharpness)
