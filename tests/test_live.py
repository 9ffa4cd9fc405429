"""Networks that run in a notebook are those that a sweep scores."""

from __future__ import annotations

import numpy as np
import pytest

import azlib
from azlib.companion import live
from azlib.proxies.az import deviation, entropy
from azlib.spaces.nasbench201 import parse


def test_the_pass_of_a_notebook_gives_the_scores_of_azlib():
    arch = live.EXAMPLES["ResNet-like"]
    network, images = live.draw(arch, 4, 8, seed=3)
    assert tuple(images.shape) == (4, 3, 8, 8) and network.training
    passed = live.look(arch, 4, 8, seed=3)
    scores = azlib.score(network, (4, 3, 8, 8), seed=3, architecture=arch)
    assert sum(map(entropy, passed.shares)) == pytest.approx(scores["expressivity"], rel=1e-4)
    trainability = np.mean([deviation(gain) for gain in passed.gains])
    assert trainability == pytest.approx(scores["trainability"], rel=1e-4)


def test_the_examples_are_cells():
    assert all(len(parse(arch)) == 6 for arch in live.EXAMPLES.values())
    assert set(parse(live.EXAMPLES["no live path"])) == {"none"}
