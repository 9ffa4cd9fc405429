"""Which searches were run and how each one is repeated: `data/searches/manifest.toml`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from azlib import spaces
from azlib.scoring.manifest import MANIFEST, pick, read
from azlib.scoring.pool import Execution
from azlib.search.loop import search
from azlib.search.rules import Algorithm1, RandomSearch, Rule, population_of
from azlib.search.scorers import Live
from azlib.spaces import own

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "searches"


@dataclass(frozen=True)
class Entry:
    """One search log.

    file: its name without the suffix. about: what it holds, for readers. space, budget: the search
    space. rule: "algorithm-1" or "random". iterations: accepted candidates. population: how many
    may be parents, by default the paper's share of the iterations. generation: how many candidates
    are proposed at once, one as published. seed: of the search and its scores. preset: at which
    size candidates are scored. device: where. reuse: names of logs of other budgets whose scores
    are taken over.
    """

    file: str
    about: str
    space: str
    budget: str
    rule: str = "algorithm-1"
    iterations: int = 2000
    population: int | None = None
    generation: int = 1
    seed: int = 123
    preset: str = "cpu"
    device: str = "cpu"
    reuse: tuple[str, ...] = ()

    def make(self, folder: Path, execution: Execution) -> Path:
        """Searches on from where the log ends, and returns its path."""
        space = spaces.get(self.space)
        space = spaces.get(self.space, **own.read_budget(space, self.budget))
        rule: Rule = RandomSearch()
        if self.rule == "algorithm-1":
            population = self.population or population_of(self.iterations)
            rule = Algorithm1(population, self.generation)
            if self.generation == 1:
                execution = replace(execution, workers=1)  # more would have nothing to do
        out = folder / f"{self.file}.parquet"
        search(
            space,
            rule,
            Live.at(space, self.preset, self.seed, device=self.device),
            iterations=self.iterations,
            seed=self.seed,
            out=out,
            reuse=[folder / f"{name}.parquet" for name in self.reuse],
            execution=execution,
        )
        return out


def entries(folder: str | Path = COMMITTED) -> list[Entry]:
    """The searches of the manifest in a folder, in its order."""
    return read(Path(folder) / MANIFEST, Entry)


def chosen(names: Iterable[str], folder: str | Path = COMMITTED) -> list[Entry]:
    """The searches with these names, or all of them where none is given."""
    return pick(names, entries(folder))
