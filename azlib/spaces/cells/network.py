"""The torch modules of cells: edge by edge as benchmarks run them, and lean for scoring."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from azlib.spaces.cells.text import EDGES, live
from azlib.tape import Layers, TapedBlock

Maker = Callable[[int, str], nn.Module]
"""Makes the module of an edge from the node that it leaves and the name of its operation."""


class Zero(nn.Module):
    """The operation "none": all zeros, which still belong to the autograd graph.

    stride, widening: what it divides the resolution and multiplies the number of channels by.
    """

    def __init__(self, stride: int = 1, widening: int = 1) -> None:
        super().__init__()
        self.stride, self.widening = stride, widening

    def forward(self, x: Tensor) -> Tensor:
        zeros = x * 0.0
        if self.stride == self.widening == 1:
            return zeros
        return zeros[:, :, :: self.stride, :: self.stride].repeat(1, self.widening, 1, 1)


class AfterReLU(TapedBlock):
    """An operation that begins with a ReLU, which edges that leave the same node can share."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def run(self, layers: Layers, x: Any) -> Any:
        return self.after_relu(layers, layers(self.relu, x))

    @abstractmethod
    def after_relu(self, layers: Layers, x: Any) -> Any:
        """What follows the ReLU."""


class ReLUConvBN(AfterReLU):
    """ReLU → convolution without bias → batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def after_relu(self, layers: Layers, x: Any) -> Any:
        return layers(self.bn, layers(self.conv, x))


class Cell(nn.Module):
    """One cell, edge by edge, exactly as a benchmark runs it."""

    def __init__(self, operations: tuple[str, ...], make: Maker) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {f"{i}to{j}": make(i, name) for (i, j), name in zip(EDGES, operations, strict=True)}
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for j in (1, 2, 3):
            nodes.append(sum(self.edges[f"{i}to{j}"](nodes[i]) for i in range(j)))
        return nodes[3]


class LeanCell(TapedBlock):
    """A cell that computes the same as `Cell` at initialisation, with less work.

    Dead edges are not built: what leaves them is zero until a normalisation layer learns a shift.
    The edges that leave one node share its ReLU, and operations without weights.
    """

    def __init__(self, operations: tuple[str, ...], make: Maker) -> None:
        super().__init__()
        self.operations = [
            (i, j, name)
            for (i, j), name, kept in zip(EDGES, operations, live(operations), strict=True)
            if kept
        ]
        self.edges = nn.ModuleDict({f"{i}to{j}": make(i, name) for i, j, name in self.operations})
        if not self.edges:
            self.none = make(0, "none")  # what a cell without any path returns

    def run(self, layers: Layers, x: Any) -> Any:
        nodes = {0: x}
        shared: dict[tuple[int, str], Any] = {}
        for i, j, name in self.operations:  # those that lead to a node precede those that leave it
            edge = self.edges[f"{i}to{j}"]
            key = i, "relu" if isinstance(edge, AfterReLU) else name
            if key not in shared:
                read = layers.kept(nodes[i])
                shared[key] = layers.relu(read) if key[1] == "relu" else layers(edge, read)
            y = shared[key]
            if isinstance(edge, AfterReLU):
                y = edge.after_relu(layers, y)
            nodes[j] = layers.add(nodes[j], y) if j in nodes else y
        return nodes[3] if 3 in nodes else layers(self.none, x)
