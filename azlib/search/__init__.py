"""Architecture search: rules that propose, scorers that judge, and the loop that logs both."""

from __future__ import annotations

from azlib.search.loop import (
    COSTS,
    METADATA_KEY,
    START,
    Algorithm1,
    Count,
    History,
    Live,
    RandomSearch,
    RegularisedEvolution,
    Result,
    incumbents,
    search,
    share,
)

__all__ = [
    "COSTS",
    "METADATA_KEY",
    "START",
    "Algorithm1",
    "Count",
    "History",
    "Live",
    "RandomSearch",
    "RegularisedEvolution",
    "Result",
    "incumbents",
    "search",
    "share",
]
