"""Score files of random numbers, for what needs scores whose values do not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from azlib.scoring.files import FileSettings, metadata
from azlib.settings import ScoreSettings


def write_scores(
    path: Path,
    proxies: tuple[str, ...],
    archs: list[str],
    seeds: tuple[int, ...] = (1,),
    space: str = "nasbench201",
    **changes,
) -> pd.DataFrame:
    """Writes a score file; changes: of the settings. Returns its rows."""
    settings = FileSettings(space, ScoreSettings(proxies, labelled_images=None).changed(**changes))
    rng = np.random.default_rng(len(path.stem) + settings.score.resolution)
    rows = pd.DataFrame(
        [(arch, seed) for seed in seeds for arch in archs], columns=["arch", "seed"]
    )
    for name in proxies:
        rows[name] = rng.normal(size=len(rows))
    rows["seconds"] = 1.0 / settings.score.batch
    table = pa.Table.from_pandas(rows, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(metadata(settings)), path)
    return rows
