"""Runs a notebook with papermill, after checking that every parameter is one it has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from nbformat.reader import NotJSONError

from azlib.errors import AzlibError, unknown


def parameters(notebook: str | Path) -> dict[str, str]:
    """The parameters of a notebook: name → default as written, from its `parameters` cell."""
    notebook = Path(notebook)
    if not notebook.is_file():
        raise AzlibError(f"no notebook {notebook}")
    try:
        found = papermill.inspect_notebook(str(notebook))
    except (NotJSONError, ValueError) as error:
        raise AzlibError(f"{notebook} is not a notebook that papermill can read") from error
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
    draft = output.with_suffix(".failed.ipynb")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            str(notebook),
            str(draft),
            values,
            cwd=str(notebook.parent),
            progress_bar=os.isatty(2),
            log_output=False,
        )
    except papermill.PapermillExecutionError as error:
        reason = (error.evalue.splitlines() or [""])[0]
        raise AzlibError(
            f"{notebook.name} failed in cell {error.cell_index}: {error.ename}: {reason}; "
            f"see {draft}"
        ) from error
    except (OSError, DeadKernelError) as error:
        raise AzlibError(f"{notebook.name} could not be run: {error}") from error
    os.replace(draft, output)
    return output
