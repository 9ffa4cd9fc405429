"""Code that a user brings along: a Python file, or a module that is installed.

A file is loaded under its own name, and its folder joins `sys.path`, as when Python runs it. So it
can import its neighbours, and what it defines can be sent to other processes, which find it there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from azlib.errors import AzlibError, reason

_loaded: list[Path] = []


def load(code: str | Path) -> ModuleType:
    """The module of a Python file, such as `my_space.py`, or of a dotted name, `package.module`.

    A file is run once in a process; afterwards its module is returned as it is.

    Raises:
        AzlibError: for a file or a module that is not there, one that raises, with the line at
            which it does, and a file that has the name of another module.
    """
    text = str(code)
    if text.endswith(".py") or "/" in text or "\\" in text:
        return _load_file(Path(text).expanduser())
    _join_path(Path.cwd())  # as `python -m` does
    try:
        return importlib.import_module(text)
    except (Exception, SystemExit) as error:  # a stranger's module can fail in any way
        raise AzlibError(
            f"the module {text!r} cannot be imported ({told(error)}): expected a file, such as "
            "my_space.py, or the name of a module that is installed"
        ) from error


def files() -> tuple[Path, ...]:
    """The files that were loaded so far, for a cluster whose machines do not have them."""
    return tuple(_loaded)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        what = "is no regular file" if path.exists() else "is not there"
        raise AzlibError(f"{path} {what}: expected a Python file, such as my_space.py")
    path, name = path.resolve(), path.stem
    held = sys.modules.get(name)
    if held is not None and Path(getattr(held, "__file__", None) or "").resolve() == path:
        return held
    if "." in name or path.suffix != ".py":  # Python would look for it in a package
        raise AzlibError(f"{path.name} cannot be imported by Python: name it like my_space.py")
    if held is not None or name in sys.stdlib_module_names:
        raise AzlibError(f"{path} has the name of another module, {name!r}: rename the file")
    _join_path(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # there is one for every .py file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, AzlibError):
            raise AzlibError(f"{path.name}: {error}") from error
        raise AzlibError(f"{path.name} cannot be loaded: {told(error, path)}") from error
    _loaded.append(path)
    return module


def _join_path(folder: Path) -> None:
    """Lets Python import what lies in a folder; processes that are started later can, too."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def told(error: BaseException, path: str | Path | None = None) -> str:
    """One line about an exception of a user's code, with the line of the file where it arose."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if path is not None and Path(frame.filename) == Path(path)
    ]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    where = f" (line {lines[-1]})" if lines and lines[-1] else ""
    return f"{reason(error)}{where}"
