"""The AutoFormer space of vision transformers (Table 3): text, sampling, networks, counts.

An architecture is one line, `depth=12 embed=192 mlp=3.5,4,... heads=4,3,...`, with one MLP ratio
and one number of attention heads per layer.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from azlib.errors import AzlibError, unknown

PATCH = 16  # pixels along each side of a patch
PATCH_VALUES = 3 * PATCH**2
HEAD_DIM = 64  # whatever the embedding: qkv has 3 × 64 × heads outputs
MAX_DISTANCE = 14  # patches; relative positions further apart share a table row
TABLE_ROWS = 2 * MAX_DISTANCE + 2  # row 0 is for pairs with the class token
TABLE_PARAMETERS = 4 * TABLE_ROWS * HEAD_DIM  # vertical and horizontal, for keys and for values


class Choices(NamedTuple):
    """The values that each gene may take; `mlp` and `heads` are chosen layer by layer."""

    depth: tuple[int, ...]
    embed: tuple[int, ...]
    mlp: tuple[float, ...]
    heads: tuple[int, ...]


SIZES = MappingProxyType(
    {
        "tiny": Choices((12, 13, 14), (192, 216, 240), (3.5, 4), (3, 4)),
        "small": Choices((12, 13, 14), (320, 384, 448), (3, 3.5, 4), (5, 6, 7)),
        "base": Choices((14, 15, 16), (528, 576, 624), (3, 3.5, 4), (9, 10)),
    }
)

# Lowest and highest number of parameters, both legal.
BUDGETS = MappingProxyType(
    {
        "default": {"tiny": (4e6, 6e6), "small": (21e6, 23e6), "base": (52e6, 54e6)},
        "tf-tas": {"tiny": (4e6, 6.2e6), "small": (21e6, 24e6), "base": (52e6, 56.5e6)},
    }
)

# The networks that the authors found and trained, by budget and size.
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


class Structure(NamedTuple):
    """A parsed architecture; `str` gives its text."""

    embed: int
    mlp: tuple[float, ...]
    heads: tuple[int, ...]

    @property
    def depth(self) -> int:
        return len(self.heads)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(attention width 64 × heads, MLP hidden width) of each layer."""
        return [
            (HEAD_DIM * h, int(self.embed * m)) for h, m in zip(self.heads, self.mlp, strict=True)
        ]

    def __str__(self) -> str:
        mlp, heads = (",".join(f"{v:g}" for v in values) for values in (self.mlp, self.heads))
        return f"depth={self.depth} embed={self.embed} mlp={mlp} heads={heads}"


@dataclass(frozen=True)
class AutoFormer:
    """One of the three AutoFormer spaces under a parameter budget.

    `size` is "tiny", "small" or "base"; `budget` the parameter range of the search, the paper's
    "default" or that of "tf-tas". `logit_scale` is what multiplies the attention logits: "search",
    64^-0.5 as when the authors scored, or "trained", (embed // heads)^-0.5 as when they trained.
    `num_classes` and `resolution` (pixels, a multiple of 16) are those of the built networks.

    ViTs are scored with their own initialisation (`AutoFormerNetwork.initialise`), in evaluation
    mode and without progressivity: `init`, `train` and `proxies` say so. `presets` are batches and
    pixels to score at, see notebook 14.

    Raises AzlibError for an unknown name or an impossible number.
    """

    size: str = "tiny"
    budget: str = "default"
    num_classes: int = 1000
    resolution: int = 224
    logit_scale: str = "search"

    proxies: ClassVar[tuple[str, ...]] = ("expressivity", "trainability", "complexity")
    init: ClassVar[str] = "own"
    train: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, tuple[int, int]]] = {"paper": (64, 224), "cpu": (4, 112)}

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("size", self.size, SIZES),
            ("budget", self.budget, BUDGETS),
            ("logit_scale", self.logit_scale, ("search", "trained")),
        ):
            if given not in known:
                raise unknown(f"AutoFormer {kind}", given, known)
        if self.resolution < PATCH or self.resolution % PATCH:
            raise AzlibError(
                f"resolution {self.resolution} does not split into {PATCH}-pixel patches: "
                f"give a positive multiple of {PATCH}."
            )
        if self.num_classes < 1:
            raise AzlibError(f"num_classes is {self.num_classes}: give 1 or more.")

    @property
    def name(self) -> str:
        return f"autoformer-{self.size}"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W) with the paper's scoring batch of 64."""
        return 64, 3, self.resolution, self.resolution

    @property
    def choices(self) -> Choices:
        return SIZES[self.size]

    def parse(self, arch: str) -> Structure:
        """The structure that a text describes.

        Raises AzlibError with the position (from 0) of the first character that does not fit.
        """
        position = 0

        def fail(expected: str) -> AzlibError:
            found = repr(arch[position : position + 12]) if arch[position:] else "the end"
            return AzlibError(
                f"malformed {self.name} architecture at position {position}: expected {expected}, "
                f"found {found}. The form is 'depth=12 embed=192 mlp=3.5,4,... heads=4,3,...' "
                "with as many MLP ratios and heads as the depth."
            )

        def literal(text: str) -> None:
            nonlocal position
            if not arch.startswith(text, position):
                raise fail(repr(text))
            position += len(text)

        def value(kind: str, choices: Sequence[float]) -> float:
            nonlocal position
            token = re.compile("[^ ,]*").match(arch, position).group()
            known = {f"{choice:g}": choice for choice in choices}
            if token not in known:
                raise fail(f"{kind} to be one of {', '.join(known)}")
            position += len(token)
            return known[token]

        def values(kind: str, choices: Sequence[float], depth: int) -> tuple[float, ...]:
            literal(f" {kind}=")
            drawn = [value(kind, choices)]
            while len(drawn) < depth:
                literal(",")
                drawn.append(value(kind, choices))
            return tuple(drawn)

        literal("depth=")
        depth = value("depth", self.choices.depth)
        (embed,) = values("embed", self.choices.embed, 1)
        mlp = values("mlp", self.choices.mlp, depth)
        heads = values("heads", self.choices.heads, depth)
        if position < len(arch):
            raise fail("the end")
        return Structure(embed, mlp, heads)

    def sample(self, rng: np.random.Generator) -> str:
        """A uniform architecture, drawn in the published order; it may exceed the budget."""
        choices = self.choices
        (depth,) = _draw(rng, choices.depth, 1)
        mlp = _draw(rng, choices.mlp, depth)
        heads = _draw(rng, choices.heads, depth)
        (embed,) = _draw(rng, choices.embed, 1)
        return str(Structure(embed, mlp, heads))

    def sample_legal(self, rng: np.random.Generator, tries: int = 10_000) -> str:
        """The first of up to `tries` uniform architectures that is within the budget.

        About 9% (tiny) to 23% (base, "tf-tas") of them are. Raises AzlibError if none was.
        """
        for _ in range(tries):
            if self.legal(arch := self.sample(rng)):
                return arch
        raise AzlibError(
            f"none of {tries} {self.name} architectures was within the {self.budget!r} budget: "
            "give more tries."
        )

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """Change `times` genes, one after the other; the result may exceed the budget.

        Every gene (depth, embed, each ratio, each number of heads) is equally likely and moves to
        one of its other values. A deeper network gets new uniform layers at its end, a shallower
        one loses its last. The published search does not mutate.
        """
        choices = self.choices
        embed, mlp, heads = self.parse(arch)
        for _ in range(times):
            depth = len(heads)
            gene, layer = divmod(int(rng.integers(2 * depth + 2)), depth)
            if gene == 0:
                mlp = _redraw(rng, choices.mlp, mlp, layer)
            elif gene == 1:
                heads = _redraw(rng, choices.heads, heads, layer)
            elif layer == 0:
                (embed,) = _redraw(rng, choices.embed, (embed,), 0)
            else:
                (depth,) = _redraw(rng, choices.depth, (depth,), 0)
                grown = max(0, depth - len(heads))
                mlp = mlp[:depth] + _draw(rng, choices.mlp, grown)
                heads = heads[:depth] + _draw(rng, choices.heads, grown)
        return str(Structure(embed, mlp, heads))

    def legal(self, arch: str) -> bool:
        """Whether the ImageNet network (224 pixels, 1000 classes) is within the budget.

        The space's own `resolution` and `num_classes` do not matter, so that cheap scoring at a
        lower resolution searches the same architectures.
        """
        low, high = BUDGETS[self.budget][self.size]
        published = replace(self, num_classes=1000, resolution=224)
        return low <= published.count(arch)["params"] <= high

    def count(self, arch: str, counting: str = "paper") -> dict[str, float]:
        """MACs and parameters of `build(arch)`, absolute numbers for one image.

        `counting="paper"` gives the published complexity: 198 tokens instead of 197 inside the
        blocks, the head applied to every token, an own rule for the relative positions. "true"
        counts the multiplications of every convolution and matrix product. The parameters are
        exact either way. Raises AzlibError for another rule.
        """
        if counting not in ("paper", "true"):
            raise unknown("counting", counting, ("paper", "true"))
        structure = self.parse(arch)
        c, layers = structure.embed, structure.layers
        side = self.resolution // PATCH
        patches, tokens = side**2, side**2 + 1

        params = PATCH_VALUES * c + c + (tokens + 1) * c + 2 * c + self.num_classes * (c + 1)
        for q, f in layers:
            params += 3 * q * (c + 1) + (q + 1) * c + TABLE_PARAMETERS
            params += (c + 1) * f + (f + 1) * c + 4 * c

        macs = patches * PATCH_VALUES * c
        if counting == "true":
            macs += self.num_classes * c
            for q, f in layers:
                macs += tokens * (3 * c * q + q * c + 2 * c * f) + 2 * tokens**2 * q
                macs += 2 * tokens * (2 * side + 1) * q  # a row, a column or the class token
        else:
            macs += c + tokens * c / 2 + tokens * self.num_classes * c
            t = tokens + 1
            for q, f in layers:
                macs += 2 * t * c + 3 * t * c * q + 2 * t**2 * q + t * q * c + 2 * t * c * f
                macs += 2 * MAX_DISTANCE * t**2 + t**2 / 2 + t * q / 2
        return {"macs": float(macs), "params": float(params)}

    def layers(self, arch: str) -> list[tuple[int, str, str]]:
        """(width, kind, label) of every half layer, as texts to draw.

        Attention: 64 for each head, and the heads; MLP: hidden width, and the ratio.
        """
        structure, halves = self.parse(arch), []
        for (attention, hidden), heads, ratio in zip(
            structure.layers, structure.heads, structure.mlp, strict=True
        ):
            halves += [(attention, "attention (heads)", f"{heads}")]
            halves += [(hidden, "MLP (ratio)", f"{ratio:g}")]
        return halves

    def build(
        self, arch: str, drop_path: float = 0.0, generator: torch.Generator | None = None
    ) -> AutoFormerNetwork:
        """The stand-alone network of an architecture, initialised.

        `drop_path` is the rate of a last block at the space's greatest depth; blocks before it
        get equally spaced rates from 0. Weights come from `generator`, by default torch's own.
        Raises AzlibError for a malformed architecture or rate.
        """
        structure = self.parse(arch)
        if not 0 <= drop_path < 1:
            raise AzlibError(f"drop_path is {drop_path}: give a rate from 0 to below 1.")
        # Layers draw weights when made; initialise() replaces them, so they leave no trace.
        with torch.random.fork_rng(devices=[]):
            network = AutoFormerNetwork(
                structure,
                num_classes=self.num_classes,
                side=self.resolution // PATCH,
                logit_scale=self.logit_scale,
                drop_path=np.linspace(0, drop_path, max(self.choices.depth)),
            )
        network.initialise(generator)
        return network


# Without the constructor's own draw, which takes longer than the one of `initialise`.
_linear = partial(nn.utils.skip_init, nn.Linear)


class AutoFormerNetwork(nn.Module):
    """A vision transformer with relative positions: images (B, 3, H, W) to logits (B, classes).

    `primary_blocks` names the two residual halves of each block, whose outputs (B, tokens, embed)
    are the features of the proxies: the class token, then the patches row by row.
    """

    def __init__(
        self,
        structure: Structure,
        num_classes: int,
        side: int,
        logit_scale: str,
        drop_path: Sequence[float],
    ) -> None:
        super().__init__()
        c, tokens = structure.embed, side**2 + 1
        self.image = (3, side * PATCH, side * PATCH)
        self.patches = nn.Conv2d(3, c, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.empty(1, 1, c))
        self.positions = nn.Parameter(torch.empty(1, tokens, c))
        self.blocks = nn.Sequential()
        for heads, (_, hidden), rate in zip(
            structure.heads, structure.layers, drop_path, strict=False
        ):
            scale = (HEAD_DIM if logit_scale == "search" else c // heads) ** -0.5
            attention = RelativeAttention(c, heads, side, scale)
            mlp = nn.Sequential(_linear(c, hidden), nn.GELU(), _linear(hidden, c))
            halves = {"attention": Residual(c, attention, rate), "mlp": Residual(c, mlp, rate)}
            self.blocks.append(nn.Sequential(OrderedDict(halves)))
        self.norm = nn.LayerNorm(c, eps=1e-5)
        self.head = _linear(c, num_classes)
        self.primary_blocks = [
            f"blocks.{i}.{half}" for i in range(structure.depth) for half in ("attention", "mlp")
        ]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, as the authors do for scoring and for training alike.

        Linear weights, class token, position embedding and relative-position tables: normal,
        standard deviation 0.02, truncated at ±2. Biases 0, layer norms 1 and 0. The patch
        embedding keeps PyTorch's rule for convolutions: weights and bias uniform in ±768^-0.5.
        Values are drawn on the CPU, so that a seed means the same weights on every device.
        """
        bound = PATCH_VALUES**-0.5
        patch_embedding = set(self.patches.parameters())
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
                continue
            for name, parameter in module.named_parameters(recurse=False):
                value = torch.zeros(parameter.shape)
                if parameter in patch_embedding:
                    value.uniform_(-bound, bound, generator=generator)
                elif name != "bias":
                    nn.init.trunc_normal_(value, std=0.02, generator=generator)
                parameter.copy_(value)

    def forward(self, images: Tensor) -> Tensor:
        if not torch.jit.is_tracing() and tuple(images.shape[1:]) != self.image:
            raise AzlibError(
                f"this AutoFormer network takes images of shape (B, {str(self.image)[1:]}, got "
                f"{tuple(images.shape)}: resize them, or build with their resolution."
            )
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        x = self.norm(self.blocks(x))
        return self.head(x[:, 1:].mean(dim=1))  # average of the patches, without the class token


class Residual(nn.Module):
    """x + f(LayerNorm(x)); in training f is dropped from each sample at the given rate."""

    def __init__(self, width: int, inner: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.inner = inner
        self.drop_path = float(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(self.norm(x))
        if self.training and self.drop_path:
            keep = 1 - self.drop_path
            y = y * y.new_empty(y.shape[0], 1, 1).bernoulli_(keep) / keep
        return x + y


class RelativeAttention(nn.Module):
    """Self-attention with learned relative positions for keys and values, (B, N, C) to the same.

    Tokens are the class token and a `side` × `side` grid of patches. A pair (query, key) has the
    vector r = V[row offset] + H[column offset] of the vertical and horizontal tables, shared by
    all heads: logits = scale (<query, key> + <query, rK>) and output = sum of attention (value +
    rV). Since the offset to a key depends on its row or column only, a query needs `side` products
    for V, `side` for H and one for the class token: they are appended to the query, their
    indicators to keys and values, and one fused attention does the rest.
    """

    def __init__(self, width: int, heads: int, side: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.qkv = _linear(width, 3 * HEAD_DIM * heads)
        self.projection = _linear(HEAD_DIM * heads, width)
        self.key_tables = nn.Parameter(torch.empty(2, TABLE_ROWS, HEAD_DIM))
        self.value_tables = nn.Parameter(torch.empty(2, TABLE_ROWS, HEAD_DIM))
        lines = torch.arange(side)
        offsets = lines - lines[:, None]  # key - query
        index = offsets.clamp(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE + 1
        rows, columns = index.repeat_interleave(side, dim=0), index.repeat(side, 1)
        eye = torch.eye(side)
        on_line = torch.cat([eye.repeat_interleave(side, dim=0), eye.repeat(side, 1)], dim=1)
        # The class token comes first: as a query it sees table row 0 on every line.
        for name, buffer in {
            "rows": F.pad(rows, (0, 0, 1, 0)),  # (N, side)
            "columns": F.pad(columns, (0, 0, 1, 0)),  # (N, side)
            "members": torch.block_diag(torch.ones(1, 1), on_line),  # (N, 1 + 2 side)
        }.items():
            self.register_buffer(name, buffer, persistent=False)

    def _vectors(self, tables: Tensor) -> Tensor:
        """Each query's vectors for the class token, the rows, the columns: (N, 1 + 2 side, 64)."""
        vertical, horizontal = tables.unbind()
        class_token = (vertical[0] + horizontal[0]).expand(self.rows.shape[0], 1, -1)
        return torch.cat([class_token, vertical[self.rows], horizontal[self.columns]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, HEAD_DIM)).permute(2, 0, 3, 1, 4).unbind()
        members = self.members.expand(*q.shape[:2], -1, -1)
        products = torch.einsum("bhqd,qsd->bhqs", q, self._vectors(self.key_tables))
        q, k, v = (torch.cat(pair, dim=-1) for pair in ((q, products), (k, members), (v, members)))
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        y, attention_sums = y.split((HEAD_DIM, members.shape[-1]), dim=-1)
        y = y + torch.einsum("bhqs,qsd->bhqd", attention_sums, self._vectors(self.value_tables))
        return self.projection(y.transpose(1, 2).flatten(2))


def _draw(rng: np.random.Generator, choices: Sequence, n: int) -> tuple:
    return tuple(choices[i] for i in rng.integers(len(choices), size=n))


def _redraw(rng: np.random.Generator, choices: Sequence, values: tuple, i: int) -> tuple:
    (new,) = _draw(rng, [choice for choice in choices if choice != values[i]], 1)
    return (*values[:i], new, *values[i + 1 :])
