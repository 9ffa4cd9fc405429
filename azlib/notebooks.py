"""Runs a notebook with papermill, after checking that every parameter is one it has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import papermill

from azlib.errors import AzlibError, unknown


def parameters(notebook: str | Path) -> dict[str, str]:
    """The parameters of a notebook: name → default as written, from its `parameters` cell."""
    notebook = Path(notebook)
    if not notebook.is_file():
        raise AzlibError(f"no notebook {notebook}")
    found = papermill.inspect_notebook(str(notebook))
    return {name: entry["default"] for name, entry in found.items()}


def run(notebook: str | Path, output: str | Path, values: dict[str, Any] | None = None) -> Path:
    """Executes a copy of a notebook at `output`, with parameters replaced by `values`.

    The copy appears under its name only when every cell ran: a failed one stays beside it as
    `<output>.failed.ipynb`. Papermill itself only warns of an unknown parameter; here it is an
    `AzlibError` that lists the known ones.
    """
    notebook, output, values = Path(notebook), Path(output), values or {}
    known = parameters(notebook)
    for name in values:
        if name not in known:
            raise unknown(f"parameter of {notebook.name}", name, known)
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = output.with_suffix(".failed.ipynb")
    try:
        papermill.execute_notebook(
            str(notebook),
            str(draft),
            values,
            cwd=str(notebook.parent),
            progress_bar=os.isatty(2),
            log_output=False,
        )
    except papermill.PapermillExecutionError as error:
        raise AzlibError(
            f"{notebook.name} failed in cell {error.cell_index}: {error.ename}: "
            f"{error.evalue}; see {draft}"
        ) from error
    os.replace(draft, output)
    return output
