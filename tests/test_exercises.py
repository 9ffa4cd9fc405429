"""The checks of the exercises accept the solutions and name what is wrong with other attempts."""

from __future__ import annotations

import json
import re
import runpy

import numpy as np
import pytest
import torch
from conftest import ROOT

from azlib.companion import exercises
from azlib.errors import AzlibError

SOLUTIONS = {
    name: function
    for path in sorted((ROOT / "docs" / "solutions").glob("*.py"))
    for name, function in runpy.run_path(str(path)).items()
    if name in exercises.EXERCISES
}


def asked():
    """(notebook, exercise) for every check in a notebook."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            for name in re.findall(r'exercises\.check\("(\w+)"', source):
                yield path, name, source


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_the_solution_is_right_and_nothing_is_not(name, capsys):
    exercises.check(name, SOLUTIONS[name])
    assert capsys.readouterr().out == f"right: {name}\n"
    for unsolved in (lambda *_: None, lambda *_: ..., lambda: 0):
        exercises.check(name, unsolved)
        assert capsys.readouterr().out.startswith("not yet: ")
    odd = ([1], [[1], [1, 2]], ([], []), ["a", "b", "c", "ab", "ac", "bc", "abc"])
    for nonsense in ("nonsense", np.array(["text"]), torch.ones(2, requires_grad=True), *odd):
        assert exercises.complain(name, lambda *_, value=nonsense: value)
    assert exercises.complain(name, 3) == "expected a function, got 3"


def test_every_exercise_is_asked_once_where_its_solution_says():
    places = {name: path.name[:2] for path, name, _ in asked()}
    assert sorted(name for _, name, _ in asked()) == sorted(exercises.EXERCISES)
    for path in (ROOT / "docs" / "solutions").glob("*.py"):
        for name in runpy.run_path(str(path)):
            if name in places:
                assert path.stem == f"lesson_{places[name]}", name


def test_an_unsolved_exercise_in_a_notebook_says_not_yet(capsys):
    for _, name, source in asked():
        exec(source, {"exercises": exercises, "np": np})
        assert capsys.readouterr().out.startswith("not yet: the function returns nothing"), name


def test_common_mistakes_are_named():
    wrong = {
        "entropy": (lambda v: -(v / v.sum() * np.log2(v / v.sum() + 1e-8)).sum(), "base 2"),
        "covariance": (lambda x: np.cov(x.T), "N - 1"),
        "progressivity": (lambda v: np.diff(v).max(), "largest"),
        "rank": (lambda v: np.argsort(np.argsort(v)), "start at 0"),
        "reached": (lambda s, x: np.mean(np.asarray(s) <= x), "percent"),
        "macs": (lambda i, o, k, side: i * o * k * side**2, "kernel × kernel"),
        "kendall": (lambda a, b: np.corrcoef(a, b)[0, 1], "Spearman"),
        "mutate": (lambda parent, rng: parent, "0 edges"),
        "resample": (lambda n, rng: rng.permutation(n), "with replacement"),
        "subsets": (lambda names: [[], *([n] for n in names)], "empty set"),
        "told_apart": (lambda low, high: "better" if low + high > 0 else "worse", "holds 0"),
    }
    for name, (attempt, words) in wrong.items():
        assert words in exercises.complain(name, attempt), name


def test_an_error_in_an_attempt_is_told_and_arguments_stay_as_they_are():
    assert "ZeroDivisionError" in exercises.complain("deviation", lambda sigma: 1 / 0)

    def spoils(values):
        values.clear()
        return 0.0

    assert "for [1.0, 1.5, 1.7, 2.9] it gives 0.0, not 0.2" in exercises.complain(
        "progressivity", spoils
    )


def test_an_unknown_exercise_is_refused():
    with pytest.raises(AzlibError, match="Did you mean 'entropy'"):
        exercises.check("entropi", len)
