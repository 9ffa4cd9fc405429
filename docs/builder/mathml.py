"""Equations as MathML, which browsers draw themselves: no script, no font, no network."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Makes the renderer known under the name `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _math(latex: str, display: str) -> str:
    """An equation as MathML; its source is the text alternative."""
    return convert(latex, display=display).replace(
        "<math ", f'<math alttext="{escape(latex.strip())}" ', 1
    )


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_math(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="equation">{_math(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode
