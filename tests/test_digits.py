"""The space and the images of the lesson that searches and trains from the beginning."""

from __future__ import annotations

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from azlib.companion import digits
from azlib.companion.notebooks import run
from azlib.errors import AzlibError
from azlib.proxies import count_macs
from azlib.spaces.base import Training, check_space

SPACE = digits.Digits()


def test_it_is_a_search_space_of_the_size_that_it_says():
    check_space(SPACE)
    assert len(list(SPACE)) == len(SPACE) == 4_096
    assert len({SPACE.canonical(arch) for arch in SPACE}) == 1_600
    rng = np.random.default_rng(1)
    arch = SPACE.sample(rng)
    child = SPACE.mutate(arch, rng)
    assert sum(a != b for a, b in zip(arch, child, strict=True)) == 1 and SPACE.legal(child)


@pytest.mark.parametrize("arch", ["sss|sss", "33p|1s3", "ppp|ppp", "131|313"])
def test_costs_are_those_of_the_network(arch):
    network = SPACE.build(arch)
    counted = SPACE.count(arch)
    assert counted["params"] == sum(p.numel() for p in network.parameters())
    assert counted["macs"] == count_macs(network, torch.zeros(2, *SPACE.input_shape[1:]))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert len(network.primary_blocks) == 2 + sum(letter in "p13" for letter in arch)


def test_skips_do_nothing_wherever_they_stand():
    assert SPACE.canonical("3s1|ps3") == SPACE.canonical("s31|sp3") == "s31|sp3"
    assert SPACE.canonical("31s|sp3") != SPACE.canonical("13s|sp3")
    built = (SPACE.training_network(a, Training(10, 8)) for a in ("3s1|ps3", "s31|sp3"))
    one, same = built
    same.load_state_dict(one.state_dict())
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(one(images), same(images))


@pytest.mark.parametrize("arch", ["", "33p1s3", "33p|1s", "33p|1sx", "33p|1s3 ", None, 3])
def test_a_malformed_architecture_gets_one_line(arch):
    with pytest.raises(AzlibError, match=r"not an architecture of the digits.*as in 33p") as error:
        SPACE.build(arch)
    assert "\n" not in str(error.value)


def test_the_images_are_as_many_of_each_digit_as_asked_for():
    train, test = digits.load(per_class=3, seed=2)
    assert train.images.shape == (30, 1, 8, 8) and test.images.shape == (1_767, 1, 8, 8)
    assert torch.equal(train.labels.bincount(), torch.full((10,), 3))
    again, _ = digits.load(per_class=3, seed=2)
    other, _ = digits.load(per_class=3, seed=3)
    assert torch.equal(train.images, again.images) and not torch.equal(train.images, other.images)
    both = torch.cat([train.images, test.images])
    assert abs(float(both.mean())) < 1e-5 and abs(float(both.std()) - 1) < 1e-3
    with pytest.raises(AzlibError, match="per_class=0: expected 1 to 100"):
        digits.load(0)


def test_the_lesson_scores_and_trains_from_nothing(tmp_path):
    values = {"retrain": True, "candidates": 8, "networks": 4, "epochs": 2, "repeats": 2}
    values |= {"save": str(tmp_path / "d.csv"), "figures": str(tmp_path), "trained": "nowhere"}
    made = run(ROOT / "notebooks" / "23-search-train-see.ipynb", tmp_path / "23.ipynb", values)
    saved = pd.read_csv(tmp_path / "d.csv", index_col="arch")
    held = pd.read_csv(ROOT / "data" / "lessons" / "digits.csv", index_col="arch")
    scores = [name for name in saved if not name.startswith("accuracy")]
    assert len(saved) == 8 and 4 <= saved["accuracy_2"].notna().sum() <= 7
    np.testing.assert_allclose(saved[scores], held.loc[saved.index, scores], rtol=1e-3, atol=1e-4)
    said = "".join(o.get("text", "") for c in nbformat.read(made, 4).cells[-3:]
                   for o in c.get("outputs", []))  # fmt: skip
    assert "Rankings that agree with the accuracies beyond chance:" in said
