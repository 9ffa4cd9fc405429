"""The exhibits that the ledger reads: where they lie, which command makes them, and their age."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from azlib.companion import benchmarks
from azlib.companion.dependencies import code_of
from azlib.errors import AzlibError

OFFICIAL = (
    "fig1",
    "fig3",
    "fig5",
    "headline",
    "reproduction",
    "sample_size",
    "search_regret",
    "sensitivity",
    "table1",
    "table1_variants",
    "table4",
    "table5",
    "why_different",
)
"""The exhibits on the accuracies of NAS-Bench-201 that the ledger reads."""
OTHERS = (
    "cheap_settings",
    "entropy_by_block",
    "fig2",
    "presets",
    "table2",
    "table2_contenders",
    "table3",
    "table3_contenders",
    "trainability",
)
"""The exhibits without accuracies that it reads."""


@dataclass(frozen=True)
class Evidence:
    """The CSVs of the exhibits, each read when it is asked for.

    Args:
        figures: folder of all exhibits.
        notebooks: folder of the notebooks that make them.
        build: folder of the executed copies of the notebooks.
    """

    figures: Path = Path("figures")
    notebooks: Path = Path("notebooks")
    build: Path = Path(".build")

    def path(self, stem: str) -> Path:
        """Where the numbers of an exhibit lie."""
        folder = self.figures / benchmarks.OFFICIAL if stem in OFFICIAL else self.figures
        return folder / f"{stem}.csv"

    def __getitem__(self, stem: str) -> pd.DataFrame:
        return self._frames[stem].copy()

    @cached_property
    def _frames(self) -> dict[str, pd.DataFrame]:
        if lacking := [stem for stem in (*OFFICIAL, *OTHERS) if not self.path(stem).is_file()]:
            named = (f"{self.path(stem)} (`{self.target(stem)}`)" for stem in lacking)
            raise AzlibError(f"the report needs exhibits that are not there: {', '.join(named)}")
        return {stem: pd.read_csv(self.path(stem)) for stem in (*OFFICIAL, *OTHERS)}

    def target(self, stem: str) -> str:
        """The command that makes an exhibit."""
        return f"make figures{', online or with NB201=PATH' if stem in OFFICIAL else ''}"

    def outdated(self) -> list[str]:
        """A line for each exhibit whose notebook has changed since it last ran in this checkout.

        The code cells of the notebook are compared with those of its executed copies. What has
        never run here has no copy, and nothing is said about it.
        """
        lines = []
        for notebook in sorted(self.notebooks.glob("*.ipynb")):
            code = code_of(notebook)
            written = set(re.findall(r'exhibits\.write\(\s*"(\w+)"', code))
            for stem in sorted(written & {*OFFICIAL, *OTHERS}):
                places = [benchmarks.OFFICIAL]
                places += [] if stem in OFFICIAL else [benchmarks.EMBEDDED, "exhibits"]
                copies = [self.build / place / notebook.name for place in places]
                ran = [code_of(copy) for copy in copies if copy.is_file()]
                if ran and not any(_holds(copy, code) for copy in ran):
                    lines.append(
                        f"{self.path(stem)} is older than {notebook}: `{self.target(stem)}`"
                    )
        return lines


def _holds(executed: str, code: str) -> bool:
    """Whether an executed copy has every line of a notebook's code, the injected ones besides."""
    return set(code.splitlines()) <= set(executed.splitlines())
