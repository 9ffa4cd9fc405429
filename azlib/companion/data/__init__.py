"""Published accuracies of benchmarks, fetched when they are first asked for.

`registry` says which files there are and where they come from, `cache` fetches them and keeps them
in a folder of the user, `readers` turn each into a table, and `truth` puts these together. Nothing
that is fetched is part of azlib: every file stays under the licence of its authors.
"""

from __future__ import annotations

from azlib.companion.data.registry import RAW, RawFile
from azlib.companion.data.truth import (
    BENCHMARKS,
    Benchmark,
    accuracies,
    available,
    check_official,
    check_same,
    complete,
    ground_truth,
    nas_bench_201,
)

__all__ = [
    "BENCHMARKS",
    "RAW",
    "Benchmark",
    "RawFile",
    "accuracies",
    "available",
    "check_official",
    "check_same",
    "complete",
    "ground_truth",
    "nas_bench_201",
]
