"""Architecture search: rules that propose, scorers that judge, and the loop that logs both."""

from __future__ import annotations

from azlib.search.history import COSTS, History
from azlib.search.loop import Result, incumbents, search
from azlib.search.rules import (
    START,
    Algorithm1,
    RandomSearch,
    RegularisedEvolution,
    Rule,
    population_of,
)
from azlib.search.scorers import Count, Known, Live, Scorer

__all__ = [
    "COSTS",
    "START",
    "Algorithm1",
    "Count",
    "History",
    "Known",
    "Live",
    "RandomSearch",
    "RegularisedEvolution",
    "Result",
    "Rule",
    "Scorer",
    "incumbents",
    "population_of",
    "search",
]
