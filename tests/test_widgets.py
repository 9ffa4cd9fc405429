"""The pictures with sliders follow them, and are pictures where there are none."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from ipywidgets import Widget
from ipywidgets.widgets.widget import _instances

from azlib.companion import NOBODY_WATCHES, live, widgets
from azlib.spaces.nasbench201 import NASBench201


class Shown(list):
    """What was displayed, in order; a picture that is drawn anew takes the place of the old one."""

    def __call__(self, shown, display_id=None, raw=False):
        self.append(shown)
        place = len(self) - 1

        class Handle:
            def update(_, new):
                self[place] = new

        return Handle()


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.delenv(NOBODY_WATCHES, raising=False)
    monkeypatch.setattr(widgets, "display", made := Shown())
    return made


def controls(shown):
    """The sliders below a picture, by what they are called."""
    (view,) = [s["application/vnd.jupyter.widget-view+json"] for s in shown if isinstance(s, dict)]
    state = Widget.get_manager_state()["state"]
    below = state[view["model_id"]]["state"]["children"]
    ids = [name.removeprefix("IPY_MODEL_") for name in below]
    return {_instances[i].description: _instances[i] for i in ids}


def said(picture):
    return picture.alt


def test_a_cloud_follows_its_sliders(shown):
    widgets.covariance(first=1.0, second=1.0)
    assert "entropy 0.693" in said(shown[0])
    controls(shown)["2nd deviation"].value = 0.1
    assert "entropy 0.056" in said(shown[0])


def test_a_cell_is_built_edge_by_edge(shown):
    arch, other = live.EXAMPLES["identity"], "|skip_connect~0|+|none~0|none~1|+|{}~0|none~1|none~2|"
    other = other.format("skip_connect")
    percent = pd.DataFrame({"AZ-NAS": [10.0, 20.0]}, [arch, other])
    widgets.cell(percent, pd.Series({arch: 50.0, other: 60.0}), arch)
    assert "AZ-NAS 10" in said(shown[0]) and "50.00 %" in said(shown[0])
    controls(shown)["0 → 1"].value = "skip_connect"
    assert "AZ-NAS 20" in said(shown[0]) and "60.00 %" in said(shown[0])


def test_weights_change_the_agreement(shown):
    names = ["expressivity", "progressivity", "trainability", "complexity"]
    scores = pd.DataFrame({name: [1.0, 2.0, 3.0, 4.0] for name in names})
    scores[["trainability", "complexity"]] *= -1
    widgets.weights(scores, pd.Series([1.0, 2.0, 3.0, 4.0]))
    before = said(shown[0])
    for name in ("trainability", "complexity"):
        controls(shown)[name].value = 0.0
    assert said(shown[0]) == "τ = 1.000" != before


def test_without_anybody_to_move_them_there_is_the_picture_alone(shown, monkeypatch, capsys):
    monkeypatch.setenv(NOBODY_WATCHES, "1")
    widgets.covariance()
    assert len(shown) == 1 and "entropy" in said(shown[0])
    assert capsys.readouterr().out.startswith("sliders: open this notebook in Jupyter")


def test_without_ipywidgets_there_is_the_picture_and_one_line(shown, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    widgets.covariance()
    assert len(shown) == 1
    assert capsys.readouterr().out.strip() == (
        "sliders: this needs the package ipywidgets: pip install 'azlib[companion]'"
    )


def test_every_operation_can_be_chosen(shown):
    space = NASBench201()
    percent = pd.DataFrame({"AZ-NAS": 1.0}, list(space))
    widgets.cell(percent, pd.Series(dtype=float), live.EXAMPLES["ResNet-like"])
    assert "accuracy once trained: nan" in said(shown[0])
    assert len(controls(shown)) == 6
    assert all(len(control.options) == 5 for control in controls(shown).values())
