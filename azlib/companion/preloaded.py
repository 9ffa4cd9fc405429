"""Imports what notebooks import, for the process that their kernels are forked from.

Only `azlib.companion.forked` has this module imported, and only there.
"""

import gc
import pkgutil
from importlib import import_module

from azlib import companion
from azlib.spaces import nasbench201

_LIBRARIES = ("adjustText", "ipykernel.ipkernel", "ipykernel.kernelapp", "ipywidgets", "seaborn")
_RUNNERS = ("figures", "forked", "notebooks", "preloaded")  # they run notebooks, none imports them

for library in _LIBRARIES:
    import_module(library)
for module in pkgutil.iter_modules(companion.__path__):
    if module.name not in _RUNNERS:
        import_module(f"{companion.__name__}.{module.name}")
nasbench201.canonical(nasbench201.enumerate_all()[0])  # fills the table that it looks up
gc.freeze()  # memory stays shared with the copies while nobody searches it for garbage
