"""The command for code of your own: `new-space`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_space(
    file: Annotated[Path, typer.Argument(help="file to write, such as my_space.py")],
) -> None:
    """Write a search space to start from; it can be swept and searched at once."""
    from azlib import spaces
    from azlib.spaces.own import write_template

    address = write_template(file, taken=spaces.NAMES)
    typer.echo(
        f"wrote {file}; try: azlib search --space {address} --iterations 50 --out found.parquet"
    )
