"""How the notebooks begin."""

from __future__ import annotations

import pytest

from azlib.companion import benchmarks, session
from azlib.errors import AzlibError
from azlib.scoring import files


def test_begin_loads_and_says_so(tmp_path, capsys):
    truth, folder, space = session.begin("", str(tmp_path))
    assert len(truth) == len(space) == 15_625 and folder == tmp_path / "analog-nasbench"
    fallback, about = capsys.readouterr().out.splitlines()
    assert fallback.startswith("only CIFAR-10") and "azlib data nas-bench-201" in fallback
    assert about == "ground truth analog-nasbench: 15,625 architectures, cifar10"
    scored = session.load_all(truth, space, str(files.COMMITTED))
    assert list(scored) == ["cifar10"] and scored["cifar10"]["seed"].nunique() == 5
    assert "cifar10: 5" in capsys.readouterr().out


def test_a_part_of_the_space_is_refused_where_all_is_needed(tmp_path):
    part = benchmarks.load().head(10)
    (tmp_path / "part.csv").write_text(
        part.assign(cifar100=70.0, **{"imagenet16-120": 40.0}).to_csv()
    )
    assert len(session.begin(str(tmp_path / "part.csv"), "figures")[0]) == 10
    with pytest.raises(AzlibError, match="has 10 accuracies; a search may find any of 15,625"):
        session.begin(str(tmp_path / "part.csv"), "figures", whole=True)


def test_a_figure_shows_the_paper_s_data_set_where_it_is_known():
    truth = benchmarks.load()
    assert session.shown(truth) == "cifar10"
    assert session.shown(truth.assign(**{"imagenet16-120": 40.0})) == "imagenet16-120"
    assert session.shown(truth, "cifar100") == "cifar100"
