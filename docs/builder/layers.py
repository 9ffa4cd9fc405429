"""Draws the map of the code, a Mermaid diagram in layers, as plain HTML."""

from __future__ import annotations

import re

_DIAGRAM = re.compile(r"```mermaid\nflowchart TD\n(.*?)```", re.DOTALL)
_BOX = re.compile(r'^\s*(\w+)\["(.+)"\]$', re.MULTILINE)


def drawn(page: str) -> str:
    """A page whose layered Mermaid diagrams are boxes, one row for each layer.

    GitHub draws Mermaid itself; the site has no network access, and boxes need no script. A layer
    is what stands between two arrows, and a layer that several lines name is drawn once.
    """
    return _DIAGRAM.sub(lambda diagram: _rows(diagram[1]), page)


def _rows(diagram: str) -> str:
    labels = dict(_BOX.findall(diagram))
    chains = [line.split("-->") for line in diagram.splitlines() if "-->" in line]
    layers = dict.fromkeys(tuple(re.findall(r"\w+", layer)) for chain in chains for layer in chain)
    rows = [
        '<div class="layer">'
        + "".join(f'<div class="box">{labels[name]}</div>' for name in layer)
        + "</div>"
        for layer in layers
    ]
    arrow = '<div class="arrow">↓ imports</div>'
    return f'<div class="layers">{arrow.join(rows)}</div>\n'
