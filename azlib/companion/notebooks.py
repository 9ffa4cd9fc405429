"""Runs a notebook with papermill, after checking that every parameter is one it has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azlib.companion import NOBODY_WATCHES
from azlib.errors import AzlibError, needs, reason, unknown

with needs("papermill", "companion"):
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from papermill.exceptions import PapermillException

# Kernels warn about their transport and about the debugger, on the terminal of whoever runs them.
_QUIET_KERNEL = ["--IPKernelApp.log_level=CRITICAL"]
_QUIET_DEBUGGER = ("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def parameters(notebook: str | Path) -> dict[str, str]:
    """The parameters of a notebook: name → default as written, from its `parameters` cell.

    Raises `AzlibError` for a path that is no notebook.
    """
    notebook = Path(notebook)
    if not notebook.is_file():
        raise AzlibError(f"no notebook {notebook}")
    try:
        found = papermill.inspect_notebook(str(notebook))
    except Exception as error:  # a file that is no notebook fails anywhere in the reading of it
        raise AzlibError(
            f"{notebook} is not a notebook that can be run; expected one that Jupyter saved "
            f"({reason(error)})"
        ) from error
    return {name: entry["default"] for name, entry in found.items()}


def run(notebook: str | Path, output: str | Path, values: Mapping[str, Any] | None = None) -> Path:
    """Executes a copy of a notebook, with other values of its parameters.

    The copy appears under its name only when every cell ran: a failed one stays beside it as
    `<output>.failed.ipynb`. Papermill only warns of an unknown parameter; here it is refused.

    Args:
        notebook: the notebook to execute, in its own folder.
        output: where the executed copy goes.
        values: parameters by name: text, numbers, True, False, None, and lists or dictionaries of
            these.

    Returns:
        The path of the copy.

    Raises:
        AzlibError: the notebook cannot be read or started, a cell fails, or a parameter is unknown
            or of another kind.
    """
    notebook, output, values = Path(notebook), Path(output), dict(values or {})
    known = parameters(notebook)
    for name, value in values.items():
        if name not in known:
            raise unknown(f"parameter of {notebook.name}", name, known)
        _check_value(name, value)
    if output.is_dir():
        raise AzlibError(f"{output} is a folder; expected the name of a notebook to write")
    draft = output.with_suffix(".failed.ipynb")
    os.environ.setdefault(*_QUIET_DEBUGGER)
    os.environ[NOBODY_WATCHES] = "1"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            str(notebook),
            str(draft),
            values,
            cwd=str(notebook.parent),
            progress_bar=False,
            log_output=False,
            extra_arguments=_QUIET_KERNEL,
        )
        os.replace(draft, output)
    except papermill.PapermillExecutionError as error:
        said = (error.evalue.splitlines() or [""])[0]
        raise AzlibError(
            f"{notebook.name} failed in cell {error.cell_index}: {error.ename}: {said}; see {draft}"
        ) from error
    except NoSuchKernel as error:
        raise AzlibError(
            f"{notebook.name} asks for the kernel {error.name!r}, which is not installed; "
            "choose python3 in Jupyter and save it again"
        ) from error
    except (OSError, ValueError, RuntimeError, PapermillException) as error:
        raise AzlibError(f"{notebook.name} could not be run: {reason(error)}") from error
    return output


def _check_value(name: str, value: object) -> None:
    """Raises `AzlibError` for a value that a `parameters` cell cannot be written with."""
    if isinstance(value, list):
        for held in value:
            _check_value(name, held)
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for held in value.values():
            _check_value(name, held)
    elif value is not None and not isinstance(value, str | bool | int | float):
        raise AzlibError(
            f"parameter {name}={value!r} is a {type(value).__name__}; expected text, a number, "
            "True, False, None, or a list or dictionary (named by text) of these"
        )
