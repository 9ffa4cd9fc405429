"""Ground truth: test accuracies of the NAS-Bench-201 architectures, from three kinds of sources.

Each source gives the test accuracy after 200 epochs, in %, as the mean over the benchmark's seeds:

1. The embedded default (`embedded`): the table of the installed package `analog-nasbench`, CIFAR-10
   only. It comes from an independent training of each architecture, not from NAS-Bench-201 itself.
2. The official files (`official`): `NAS-Bench-201-v1_1-096897.pth`, or the folder
   `NATS-tss-v1_0-3ffb9-simple` of NATS-Bench, which may hold a part of the architectures.
   Prefer the folder, which is read file by file: the .pth can only be read whole, at 0.06 s and
   3 MB of memory per architecture (measured on small files of its kind).
3. A CSV (`exported`): what `export` writes from the other two.

Whatever the source, `table` checks what was read and gives it the same shape.

Benchmarks come as pickles, and a pickle can run code. Here none is unpickled except by a reader
that refuses every name it does not expect, so a hostile file ends in an error, not in its code.
"""

from __future__ import annotations

from azlib.companion.benchmarks.sources import costs, export, info, load
from azlib.companion.benchmarks.table import ARCHITECTURES, DATASETS, EMBEDDED, OFFICIAL

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "EMBEDDED",
    "OFFICIAL",
    "costs",
    "export",
    "info",
    "load",
]
