"""The AutoFormer spaces as texts: their choices, the published networks, reading and writing.

An architecture is one line, `depth=12 embed=192 mlp=3.5,4,... heads=4,3,...`, with one MLP ratio
and one number of attention heads for each layer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from azlib.errors import AzlibError
from azlib.spaces.limits import LONGEST_TEXT, abridged

T = TypeVar("T", bound=float)

HEAD_DIM = 64  # channels of a head, whatever the embedding: qkv has 3 × 64 × heads outputs


class Choices(NamedTuple):
    """The values that each gene may take. `mlp` and `heads` are chosen layer by layer."""

    depth: tuple[int, ...]
    embed: tuple[int, ...]
    mlp: tuple[float, ...]
    heads: tuple[int, ...]

    @property
    def largest(self) -> Structure:
        """The largest network, of which all others are slices."""
        depth = max(self.depth)
        return Structure(max(self.embed), (max(self.mlp),) * depth, (max(self.heads),) * depth)


SIZES = MappingProxyType(
    {
        "tiny": Choices((12, 13, 14), (192, 216, 240), (3.5, 4), (3, 4)),
        "small": Choices((12, 13, 14), (320, 384, 448), (3, 3.5, 4), (5, 6, 7)),
        "base": Choices((14, 15, 16), (528, 576, 624), (3, 3.5, 4), (9, 10)),
    }
)
"""What the networks of each size are made of."""

BUDGETS = MappingProxyType(
    {
        "default": {"tiny": (4e6, 6e6), "small": (21e6, 23e6), "base": (52e6, 54e6)},
        "tf-tas": {"tiny": (4e6, 6.2e6), "small": (21e6, 24e6), "base": (52e6, 56.5e6)},
    }
)
"""The lowest and the highest number of parameters, which are both legal, of each budget."""

PUBLISHED = MappingProxyType(
    {
        ("default", "tiny"): (
            "depth=12 embed=192 mlp=3.5,3.5,3.5,4,3.5,3.5,3.5,3.5,3.5,3.5,4,4"
            " heads=4,3,4,4,4,4,4,3,3,4,4,4"
        ),
        ("default", "small"): (
            "depth=14 embed=384 mlp=3,3,3,4,3.5,3,3,3.5,4,3,3,3,3,4"
            " heads=7,7,6,6,5,6,6,6,7,7,5,5,6,7"
        ),
        ("default", "base"): (
            "depth=16 embed=528 mlp=3,3.5,3.5,3.5,3,3.5,3,4,4,3,3,4,3.5,3,4,4"
            " heads=10,10,10,10,10,10,10,10,10,10,10,9,10,10,10,10"
        ),
        ("tf-tas", "tiny"): (
            "depth=13 embed=192 mlp=3.5,3.5,3.5,3.5,3.5,3.5,3.5,3.5,3.5,3.5,3.5,4,3.5"
            " heads=3,4,4,3,4,4,3,4,3,4,4,3,3"
        ),
        ("tf-tas", "small"): (
            "depth=14 embed=384 mlp=3,3,3,3,4,3.5,3,3.5,3,4,3.5,3.5,3.5,4"
            " heads=7,6,7,7,6,5,7,6,7,7,7,7,6,5"
        ),
        ("tf-tas", "base"): (
            "depth=16 embed=528 mlp=3,3,3.5,4,4,3,3,3,4,3,3,4,4,4,4,4"
            " heads=10,10,10,10,10,9,10,10,10,10,9,10,10,10,10,10"
        ),
    }
)
"""The networks that the authors found and trained, by budget and size."""


class Structure(NamedTuple):
    """An architecture that has been read. `str` gives its text."""

    embed: int
    mlp: tuple[float, ...]
    heads: tuple[int, ...]

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.heads)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(attention width, hidden width of the MLP) of each layer."""
        return [
            (HEAD_DIM * h, int(self.embed * m)) for h, m in zip(self.heads, self.mlp, strict=True)
        ]

    def __str__(self) -> str:
        mlp, heads = (",".join(f"{v:g}" for v in values) for values in (self.mlp, self.heads))
        return f"depth={self.depth} embed={self.embed} mlp={mlp} heads={heads}"


def parse(arch: str, choices: Choices, name: str) -> Structure:
    """The structure that a text describes.

    Raises `AzlibError`, which names the space, with the position (from 0) of the first character
    that does not fit.
    """
    if not isinstance(arch, str) or len(arch) > LONGEST_TEXT:
        raise AzlibError(
            f"not an {name} architecture: {abridged(arch)}; expected a text such as "
            f"{PUBLISHED['default', 'tiny']!r}"
        )
    reader = _Reader(arch, name)
    reader.skip("depth=")
    depth = reader.value("depth", choices.depth)
    (embed,) = reader.values("embed", choices.embed, 1)
    mlp = reader.values("mlp", choices.mlp, depth)
    heads = reader.values("heads", choices.heads, depth)
    reader.end()
    return Structure(embed, mlp, heads)


class _Reader:
    """Reads a text from left to right and knows the position where it stops making sense."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.position = text, name, 0

    def skip(self, expected: str) -> None:
        """Moves behind this text, which must come next."""
        if not self.text.startswith(expected, self.position):
            raise self._malformed(repr(expected))
        self.position += len(expected)

    def value(self, kind: str, choices: Sequence[T]) -> T:
        """The one of the choices that comes next."""
        token = re.compile("[^ ,]*").match(self.text, self.position)
        known = {f"{choice:g}": choice for choice in choices}
        if token is None or token[0] not in known:
            raise self._malformed(f"{kind} to be one of {', '.join(known)}")
        self.position = token.end()
        return known[token[0]]

    def values(self, kind: str, choices: Sequence[T], count: int) -> tuple[T, ...]:
        """So many values, separated by commas, after their name."""
        self.skip(f" {kind}=")
        found = [self.value(kind, choices)]
        while len(found) < count:
            self.skip(",")
            found.append(self.value(kind, choices))
        return tuple(found)

    def end(self) -> None:
        """Nothing may come next."""
        if self.position < len(self.text):
            raise self._malformed("the end")

    def _malformed(self, expected: str) -> AzlibError:
        found = repr(self.text[self.position : self.position + 12])
        return AzlibError(
            f"malformed {self.name} architecture at position {self.position}: expected "
            f"{expected}, found {found if self.position < len(self.text) else 'the end'}. The form "
            "is 'depth=12 embed=192 mlp=3.5,4,... heads=4,3,...' with as many MLP ratios and heads "
            "as the depth."
        )
