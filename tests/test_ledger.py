"""REPRODUCTION.md is what the exhibits say, and says it of every published number."""

from __future__ import annotations

import dataclasses
import re
import shutil

import nbformat
import pandas as pd
import pytest
from conftest import ROOT
from typer.testing import CliRunner

from azlib.cli import app
from azlib.companion import paper
from azlib.companion.ledger import numbers, report
from azlib.companion.ledger.evidence import OFFICIAL, OTHERS, Evidence
from azlib.companion.ledger.rows import DIFFERS, NOT_MEASURED, NOT_RUNNABLE, REPRODUCED, VERDICTS
from azlib.errors import AzlibError

EVIDENCE = Evidence(ROOT / "figures", ROOT / "notebooks", ROOT / ".build")


@pytest.fixture(scope="module")
def found():
    return report.rows(EVIDENCE)


@pytest.fixture
def copied(tmp_path):
    """The exhibits in a folder where they can be changed."""
    for stem in (*OFFICIAL, *OTHERS):
        path = EVIDENCE.path(stem)
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return Evidence(tmp_path / "figures", ROOT / "notebooks", tmp_path / "build")


def changed(evidence, stem, change):
    """The evidence with one exhibit changed."""
    change(pd.read_csv(evidence.path(stem))).to_csv(evidence.path(stem), index=False)
    return dataclasses.replace(evidence)


def test_the_committed_page_is_what_the_command_writes(found):
    page = (ROOT / "REPRODUCTION.md").read_text(encoding="utf-8")
    assert page == report.page(found, EVIDENCE), "run `make report` and commit REPRODUCTION.md"


def test_every_published_number_has_its_row(found):
    written = [(row.section, row.what, row.published) for row in found if row.published]
    for published in paper.PUBLISHED:
        row = numbers.row_of(published, EVIDENCE)
        assert (row.section, row.what, row.published) in written
        number = float(re.sub(r" ±.*|,", "", row.published))
        unit = 1e6 if published.statistic == "flops" else 1
        assert number == pytest.approx(published.value / unit, abs=0.0006)
    assert len([row for row in found if row.section in set(paper.frame()["exhibit"])]) >= len(
        paper.PUBLISHED
    )


def test_every_exhibit_of_the_paper_has_its_section(found):
    sections = " ".join(dict.fromkeys(row.section for row in found))
    named = [f"Fig. {n}" for n in range(1, 6)] + [f"Table {n}" for n in range(1, 6)]
    named += ["Figs. 6, 7, 8, 9 and Tables 6, 7, 8, 9, 10", "Alg. 1"]
    assert all(name in sections for name in [*named, "Eqs. 1–4", "Eq. 5", "Eqs. 6–10", "Eq. 11"])
    assert "Eq. 12" in sections


def test_rows_say_what_they_must(found):
    assert {row.verdict for row in found} == set(VERDICTS)
    for row in found:
        measured = row.verdict in (REPRODUCED, DIFFERS)
        assert bool(row.exhibit) == bool(row.ours) and (row.ours or not measured), row
        assert row.remark or row.verdict not in (DIFFERS, NOT_RUNNABLE, NOT_MEASURED), row
        assert "nan" not in f"{row.published}{row.ours}{row.remark}".lower().split(), row
        assert "|" not in f"{row.what}{row.ours}{row.remark}", "it would break the table"


def test_a_verdict_follows_its_number(copied):
    def worse(table):
        columns = ["kendall_tau", "tau_low", "tau_high"]
        return table.assign(**{name: table[name] - 0.1 for name in columns})

    (published,) = (
        p
        for p in paper.PUBLISHED
        if (p.exhibit, p.method, p.dataset) == ("Table 4", "log", "cifar10")
    )
    assert numbers.row_of(published, copied).verdict == REPRODUCED
    row = numbers.row_of(published, changed(copied, "table4", worse))
    assert row.verdict == DIFFERS and row.remark == "by -0.102: the reason is not measured"
    claims = {row.what: row.verdict for row in report.rows(changed(copied, "fig5", worse))}
    assert (
        claims["of the paper's methods, AZ-NAS agrees best with the accuracies (τ), imagenet16-120"]
        == REPRODUCED
    )


@pytest.mark.parametrize(
    ("stem", "method", "dataset", "column", "says"),
    [
        ("sensitivity", "GraSP", "cifar10", "difference_low", "on noise instead of patches"),
        ("why_different", "GradSign", "cifar100", "value", "with dead ones counted"),
    ],
)
def test_a_reason_is_given_only_where_an_exhibit_bears_it_out(
    copied, stem, method, dataset, column, says
):
    (published,) = (
        p
        for p in paper.PUBLISHED
        if (p.exhibit, p.statistic) == ("VKDNW all", "kendall_tau")
        and (p.method, p.dataset) == (method, dataset)
    )
    assert says in numbers.row_of(published, copied).remark
    without = changed(copied, stem, lambda table: table.assign(**{column: -1.0}))
    row = numbers.row_of(published, without)
    assert row.verdict == DIFFERS and row.remark.endswith("the reason is not measured")


def test_a_missing_exhibit_is_named_with_its_target(copied, tmp_path):
    copied.path("table4").unlink()
    copied.path("fig2").unlink()
    page = tmp_path / "page.md"
    page.write_text("before")
    with pytest.raises(AzlibError) as error:
        report.write(dataclasses.replace(copied), page)
    online = "make figures, online or with NB201=PATH"
    for text in (f"table4.csv (`{online}`)", "fig2.csv (`make figures`)"):
        assert text in str(error.value)
    assert page.read_text() == "before"


def test_an_exhibit_older_than_its_notebook_is_named(copied, tmp_path):
    assert copied.outdated() == []  # nothing has run there
    notebook = next((ROOT / "notebooks").glob("05-*.ipynb"))
    executed = nbformat.read(notebook, 4)
    executed.cells.insert(2, nbformat.v4.new_code_cell('source = "nb201.csv"'))
    copy = copied.build / "nas-bench-201" / notebook.name
    copy.parent.mkdir(parents=True)
    nbformat.write(executed, copy)
    assert copied.outdated() == []
    next(cell for cell in executed.cells if "exhibits.write" in cell.source).source = "pass"
    nbformat.write(executed, copy)
    arguments = ["--figures", str(copied.figures), "--notebooks", str(copied.notebooks)]
    arguments += ["--build", str(copied.build), "--out", str(tmp_path / "page.md")]
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code == 0, result.output
    for stem in ("table4", "headline"):
        line = f"{stem}.csv is older than {notebook}: `make figures, online or with NB201=PATH`"
        assert line in result.output
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("# Does it reproduce?")
