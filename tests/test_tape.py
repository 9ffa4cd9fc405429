"""Blocks on a tape against the same blocks as modules, with autograd."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

import azlib
from azlib.inputs.initialisation import initialise
from azlib.spaces import nasbench201 as nb
from azlib.spaces.cells.network import ReLUConvBN
from azlib.spaces.mobilenetv2.network import InvertedBottleneck
from azlib.spaces.mobilenetv2.text import Half
from azlib.spaces.nasbench201.network import ReductionBlock
from azlib.spaces.nasbenchmacro import network as macro
from azlib.spaces.nasbenchmacro.text import Bottleneck
from azlib.spaces.transnas101.network import FactorisedReduction
from azlib.tape import Session, TapedBlock, taping
from azlib.trace import trace

C = 8


def cells(count: int) -> list[nn.Module]:
    archs = random.Random(4).sample(nb.enumerate_all(), count)
    return [nb.Network(arch, lean=True).cells[0] for arch in archs]


class Sums(TapedBlock):
    """What could go wrong in place: features that are read again, twice, and after a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.norm, self.pool = nn.ReLU(), nn.BatchNorm2d(C), nn.AvgPool2d(3, 1, 1)
        self.conv = nn.Conv2d(C, C, 3, 2, 1, bias=True, groups=2)

    def run(self, layers, x):
        a = layers.kept(layers(self.norm, x))
        b = layers.add(layers(self.relu, a), a)
        c = layers.add(layers.add(x, x), layers(self.pool, layers.kept(b)))
        return layers(self.conv, layers.add(layers.add(c, a), b))


def blocks() -> list[nn.Module]:
    made = [Sums(), ReductionBlock(C, 2 * C), FactorisedReduction(C, 6), ReLUConvBN(C, 4, 1)]
    made += [InvertedBottleneck(Half(C, 16, C, 3, 1, False), True)]
    made += [InvertedBottleneck(Half(C, 16, 12, 5, 2, True), False)]
    made += [macro.InvertedBottleneck(C, C, 1, Bottleneck(3, 3))]
    return made


@pytest.mark.parametrize("block", [*cells(12), *blocks()], ids=lambda block: type(block).__name__)
def test_a_block_on_a_tape_is_the_block(block):
    rng = torch.Generator().manual_seed(2)
    initialise(block, "kaiming_norm_fanin", rng)
    channels = 16 if hasattr(block, "operations") else C
    x = torch.randn(4, channels, 9, 9, generator=rng).double()
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    block.double()
    wanted = block(x)
    v = torch.randn(wanted.shape, generator=rng).double()
    (gradient,) = torch.autograd.grad(wanted, x, v)

    session, before, given = Session([block]), x.detach().clone(), v.clone()
    session.read = x
    with taping(session):
        output = block(x)
    assert output is session.output and not output.requires_grad
    torch.testing.assert_close(output, wanted.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(session.pull_back(v), gradient, rtol=1e-9, atol=1e-9)
    assert torch.equal(x, before) and torch.equal(v, given)


def test_only_a_block_that_is_read_and_reads_what_was_read_runs_on_a_tape():
    block, other = ReductionBlock(C, 2 * C), ReductionBlock(C, 2 * C)
    x = torch.randn(2, C, 4, 4)
    session = Session([block])
    session.read = x
    with taping(session):
        other(x)
        block(x.clone())
        with taping(None):
            block(x)
        assert session.output is None
        assert block(x) is session.output
        session.pull_back(torch.ones(2, 2 * C, 2, 2))
        block.eval()(x)
    assert session.output is None


CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def traced(blocks=None, listen=False):
    network = nb.Network(CELL, lean=True).train()
    initialise(network, "kaiming_norm_fanin", torch.Generator().manual_seed(1))
    heard: list[nn.Module] = []
    if listen:
        for module in network.cells.modules():
            module.register_forward_hook(lambda module, *_: heard.append(module))
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    found = trace(network, x, torch.Generator().manual_seed(5), blocks)
    return found, heard, network


def test_who_listens_to_layers_hears_them_and_the_numbers_are_the_same():
    quick, _, network = traced()
    slow, heard, other = traced(listen=True)
    leaves = nn.Conv2d | nn.BatchNorm2d | nn.AvgPool2d
    assert {m for m in other.cells.modules() if isinstance(m, leaves)} <= set(heard)
    norm = network.get_submodule("cells.0.edges.0to1.bn")
    assert norm.num_batches_tracked == 0  # it ran on a tape
    assert other.get_submodule("cells.0.edges.0to1.bn").num_batches_tracked == 1
    for name in ("covariances", "transfers"):
        for a, b in zip(getattr(quick, name), getattr(slow, name), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_blocks_inside_a_block_are_reached():
    names = ["stem", "cells.0.edges.0to1.bn", "cells.0", "cells.1"]
    found, _, _ = traced(dict.fromkeys(names, 1))
    assert len(found.covariances) == 4


def test_memory_of_a_run_is_used_up():
    block, x = ReductionBlock(C, 2 * C), torch.randn(2, C, 4, 4)
    session = Session([block])
    session.read = x
    with taping(session):
        v = torch.ones_like(block(x))
    session.pull_back(v)
    with pytest.raises(AssertionError):
        session.pull_back(v)


def test_the_score_is_that_of_modules():
    network = nb.Network(CELL, lean=True)
    scores = azlib.score(network, (4, 3, 16, 16), architecture=CELL)
    listener = network.register_forward_hook(lambda *_: None)
    assert network._forward_hooks
    assert azlib.score(network, (4, 3, 16, 16), architecture=CELL) == pytest.approx(
        scores, rel=1e-5
    )
    listener.remove()
