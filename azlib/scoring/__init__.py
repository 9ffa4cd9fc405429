"""Scores of many architectures: on processes or a cluster, resumable, in files with datasheets."""

from __future__ import annotations

from azlib.scoring.architectures import sample
from azlib.scoring.files import FileSettings, load, load_at, load_nearest, read, read_settings
from azlib.scoring.pool import Execution
from azlib.scoring.recompute import recompute
from azlib.scoring.reference import Reference
from azlib.scoring.sweep import sweep

__all__ = [
    "Execution",
    "FileSettings",
    "Reference",
    "load",
    "load_at",
    "load_nearest",
    "read",
    "read_settings",
    "recompute",
    "sample",
    "sweep",
]
