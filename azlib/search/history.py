"""The accepted candidates of a search, in order, and their ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azlib.aggregation import IncrementalRanking, rank_sum
from azlib.errors import AzlibError

COSTS = ("macs", "params", "seconds")  # the log's columns after the scores


class History:
    """All accepted candidates of a search, in order, and their ranking.

    members: the proxies that the ranking sums; one that is listed twice has twice the weight.
    selected: how many of the best the ranking keeps track of. iterations: how many candidates there
    will be. `proxies` are the members, each once; `rows` are the rows of the log, `values` their
    scores, (iterations, proxies).
    """

    def __init__(self, members: Sequence[str], selected: int, iterations: int):
        self.members, self.proxies = tuple(members), tuple(dict.fromkeys(members))
        if taken := {"step", "structure", *COSTS} & {*members}:
            raise AzlibError(
                f"the log has columns {sorted(taken)} of its own: rename the scores, or search by "
                "one of these alone with azlib.search.Count"
            )
        self.rows: list[dict[str, Any]] = []
        self.failed = 0  # how many have no score at all
        self.values = np.empty((iterations, len(self.proxies)))
        self.ranking = IncrementalRanking(self.members, selected)

    def __len__(self) -> int:
        return len(self.rows)

    def append(self, row: dict[str, Any]) -> None:
        """Adds one candidate, given as its row of the log."""
        values = [row[name] for name in self.proxies]
        self.values[len(self)] = values
        self.failed += all(map(math.isnan, values))
        self.ranking.append(row)
        self.rows.append(row)

    def aggregate(self, begin: int = 0) -> NDArray[np.float64]:
        """The aggregated scores of the candidates from `begin` on, ranked among themselves."""
        columns = dict(zip(self.proxies, self.values[begin : len(self)].T, strict=True))
        return rank_sum([columns[name] for name in self.members])
