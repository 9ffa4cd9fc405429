"""How Sphinx makes the site from what `docs.builder.sources` collects; `make site` runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for azlib and docs.builder

import azlib

for _name in azlib.__all__:  # imported when asked for, so autodoc does not see them by itself
    setattr(azlib, _name, getattr(azlib, _name))

REPOSITORY = os.environ.get("REPOSITORY", "").rstrip("/")
"""Where the repository is published, such as https://github.com/OWNER/azlib.

The workflows on GitHub set it. Links to source files and to Colab need it; without it the site has
neither.
"""

project = "azlib"
author = copyright = "The azlib contributors"
html_title = "azlib"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["docs.builder.docstrings", "docs.builder.mathml"]
exclude_patterns = ["figures/**"]

# Pages and lessons. Lessons are shown as they were run, and widgets as the pictures beside them.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

# The reference, from docstrings in which `name` in backticks is a name of Python.
default_role = "py:obj"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

# Light, as the pictures are; nothing on a page comes from elsewhere.
html_theme = "furo"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
