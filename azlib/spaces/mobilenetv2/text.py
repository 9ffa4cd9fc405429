"""Structure texts of the MobileNetV2 space: what they mean, and how they are read and written.

An architecture is a line of super-blocks, such as `INITIAL`: the stem `SuperConvK3BNRELU(3,...)`,
any number of `SuperResIDWE{expansion}K{kernel}(in,out,stride,bottleneck,layers)`, and the last
convolution `SuperConvK1BNRELU`. A head of global average pool and linear layer follows unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from azlib.errors import AzlibError
from azlib.spaces.limits import LONGEST_TEXT, abridged

INITIAL = (
    "SuperConvK3BNRELU(3,8,2,1)"
    "SuperResIDWE6K3(8,32,2,8,1)"
    "SuperResIDWE6K3(32,48,2,32,1)"
    "SuperResIDWE6K3(48,96,2,48,1)"
    "SuperResIDWE6K3(96,128,2,96,1)"
    "SuperConvK1BNRELU(128,2048,1,1)"
)
# The smallest network that mutations lead to, as they remove no block, change no stride and never
# touch the last width.
SMALLEST = (
    "SuperConvK3BNRELU(3,8,2,1)"
    + 4 * "SuperResIDWE1K3(8,8,2,8,1)"
    + "SuperConvK1BNRELU(8,2048,1,1)"
)
EXPANSIONS, KERNELS = (1, 2, 4, 6), (3, 5, 7)
MOST_CHANNELS = 16_384  # of any width; the published networks have at most 2,048
MOST_LAYERS = 1_000  # of a whole network; the published networks have at most 16


class Half(NamedTuple):
    """One inverted bottleneck: from `inputs` to `width` to `out` channels, then sum and ReLU.

    `projected` says whether a convolution on the shortcut changes the number of channels.
    """

    inputs: int
    width: int
    out: int
    kernel: int
    stride: int
    projected: bool


class Convolution(NamedTuple):
    """Convolution, batch norm and ReLU: the stem (kernel 3) or the last convolution (kernel 1)."""

    kernel: int
    inputs: int
    out: int
    stride: int

    @property
    def layers(self) -> int:
        """One, as every layer of a residual block counts one."""
        return 1

    def __str__(self) -> str:
        return f"SuperConvK{self.kernel}BNRELU({self.inputs},{self.out},{self.stride},1)"


class Residual(NamedTuple):
    """`layers` pairs of inverted bottlenecks: to `bottleneck` and then to `out` channels."""

    expansion: int
    kernel: int
    inputs: int
    out: int
    stride: int
    bottleneck: int
    layers: int

    def __str__(self) -> str:
        numbers = f"{self.inputs},{self.out},{self.stride},{self.bottleneck},{self.layers}"
        return f"SuperResIDWE{self.expansion}K{self.kernel}({numbers})"

    def halves(self) -> Iterator[Half]:
        """The inverted bottlenecks in order. Only the first has the stride; it always projects."""
        channels = [self.inputs, *(self.bottleneck, self.out) * self.layers]
        for i, (inputs, out) in enumerate(pairwise(channels)):
            stride, projected = (self.stride, True) if i == 0 else (1, inputs != out)
            yield Half(inputs, out * self.expansion, out, self.kernel, stride, projected)


Block = Convolution | Residual

_NAME = re.compile(r"SuperConvK(?P<conv>[0-9]+)BNRELU|SuperResIDWE(?P<e>[0-9]+)K(?P<k>[0-9]+)")
_ARGUMENTS = re.compile(r"\((?:[^(),|]*\|)?(?P<numbers>[^()|]*)\)")
_NUMBER = re.compile(r" *([1-9][0-9]{0,5}) *")


def parse(text: str) -> tuple[Block, ...]:
    """The blocks of a structure text, whose white space and instance names are ignored.

    Raises `AzlibError` with the index of the first character that cannot be right, and why.
    """
    if not isinstance(text, str):
        raise AzlibError(
            f"a MobileNetV2 structure is a text such as {INITIAL!r}, got {abridged(text)}."
        )
    if len(text) > LONGEST_TEXT:
        raise AzlibError(
            f"a MobileNetV2 structure of {len(text):,} characters: expected at most "
            f"{LONGEST_TEXT:,}."
        )
    return _parse(text)


@lru_cache(1024)  # a search asks several times about each candidate
def _parse(text: str) -> tuple[Block, ...]:
    blocks: list[Block] = []
    end = _skip_space(text, 0)
    while not _ended(blocks):
        block, end = _parse_block(text, end, blocks)
        blocks.append(block)
        end = _skip_space(text, end)
    if end < len(text):
        raise _malformed(text, end, "the end: SuperConvK1BNRELU is the last block")
    return tuple(blocks)


def _ended(blocks: Sequence[Block]) -> bool:
    """Whether the last convolution has been read."""
    return bool(blocks) and isinstance(blocks[-1], Convolution) and blocks[-1].kernel == 1


def _parse_block(text: str, start: int, before: Sequence[Block]) -> tuple[Block, int]:
    """The block at `start` and the index after it, checked against the blocks before it."""
    name = _parse_name(text, start, is_first=not before)
    residual = name["conv"] is None
    fields = "in,out,stride,bottleneck,layers" if residual else "in,out,stride,1"
    arguments = _ARGUMENTS.match(text, name.end())
    if not arguments:
        raise _malformed(text, name.end(), f"the numbers ({fields})")
    values, where = _parse_numbers(text, *arguments.span("numbers"), fields)
    inputs, out, stride = values[:3]
    expected_inputs = before[-1].out if before else 3
    if inputs != expected_inputs:
        came_from = "the block before gives" if before else "an image has"
        raise _malformed(text, where[0], f"in = {expected_inputs}, the channels that {came_from}")
    if stride > 2:
        raise _malformed(text, where[2], "stride 1 or 2")
    # These are the space's own widths. The space rounds expanded widths to multiples of 8, too,
    # which changes none of them.
    for i in (1, 3) if residual else (1,):
        if values[i] % 8:
            raise _malformed(text, where[i], "a multiple of 8 channels")
        if values[i] > MOST_CHANNELS:
            raise _malformed(text, where[i], f"at most {MOST_CHANNELS} channels")
    if not residual:
        if values[3] != 1:
            raise _malformed(text, where[3], "a count of 1: convolutions do not repeat here")
        return Convolution(int(name["conv"]), inputs, out, stride), arguments.end()
    if values[4] > MOST_LAYERS:
        raise _malformed(text, where[4], f"at most {MOST_LAYERS} layers")
    return Residual(int(name["e"]), int(name["k"]), *values), arguments.end()


def _parse_name(text: str, start: int, is_first: bool) -> re.Match[str]:
    """The name of the block at `start`, which must be the stem if the block is the first."""
    name = _NAME.match(text, start)
    if is_first and (not name or name["conv"] != "3"):
        raise _malformed(text, start, "the stem SuperConvK3BNRELU(3,out,stride,1)")
    if not name or (not is_first and name["conv"] not in (None, "1")):
        raise _malformed(text, start, "SuperResIDWE{e}K{k}(...) or SuperConvK1BNRELU(...)")
    for group, kind, known in (("e", "an expansion", EXPANSIONS), ("k", "a kernel", KERNELS)):
        if name[group] is not None and name[group] not in map(str, known):
            raise _malformed(text, name.start(group), f"{kind} in {known}")
    return name


def _parse_numbers(text: str, start: int, end: int, fields: str) -> tuple[list[int], list[int]]:
    """The comma-separated positive integers of text[start:end], and where each starts."""
    values, where = [], []
    for part in text[start:end].split(","):
        number = _NUMBER.fullmatch(part)
        if not number:
            raise _malformed(text, start, "a positive integer below 1000000")
        values.append(int(number[1]))
        where.append(start)
        start += len(part) + 1
    if len(values) != fields.count(",") + 1:
        raise _malformed(text, where[0], f"{fields.count(',') + 1} numbers ({fields})")
    return values, where


def _skip_space(text: str, start: int) -> int:
    """The index of the first character from `start` on that is no white space."""
    return len(text) - len(text[start:].lstrip())


def _malformed(text: str, index: int, expected: str) -> AzlibError:
    """The error for a text that cannot be right from this index on."""
    found = repr(text[index : index + 24]) if index < len(text) else "the end of the text"
    return AzlibError(
        f"malformed MobileNetV2 structure at index {index}: found {found}, expected {expected}. "
        f"MobileNetV2.initial shows the form."
    )


def format(blocks: Iterable[Block]) -> str:
    """The structure text of blocks, without instance names. `parse` reads it back."""
    return "".join(map(str, blocks))


def layers(blocks: Iterable[Block]) -> int:
    """The number of layers: one for the stem, one for the last convolution, the residual ones."""
    return sum(block.layers for block in blocks)
