"""The networks of the AutoFormer spaces: vision transformers with relative positions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from azlib.errors import AzlibError
from azlib.inputs import generator as stream
from azlib.spaces.autoformer.cost import MAX_DISTANCE, PATCH, PATCH_VALUES, TABLE_ROWS
from azlib.spaces.autoformer.text import HEAD_DIM, Structure

# Layers without the draws of their constructors, which would take longer than those of `initialise`
# and leave a trace in torch's generator.
_linear = partial(nn.utils.skip_init, nn.Linear)
_convolution = partial(nn.utils.skip_init, nn.Conv2d)


class AutoFormerNetwork(nn.Module):
    """A vision transformer that maps images (B, 3, H, W) to logits (B, num_classes).

    Its weights are undefined before `initialise`. `primary_blocks` names the two residual halves of
    each block, whose outputs (B, tokens, embed) the proxies read: the class token, and then the
    patches row by row.

    Args:
        structure: what the network is made of.
        num_classes: the number of logits.
        side: the number of patches along a side of the images.
        logit_scale: what multiplies the attention logits, see `AutoFormer`.
        drop_path: the rate at which each block drops its residual branches in training.
        largest: the structure of the supernet that `inherit` slices; by default the network is a
            supernet itself.
    """

    primary_blocks: list[str]

    def __init__(
        self,
        structure: Structure,
        num_classes: int,
        side: int,
        logit_scale: str,
        drop_path: Sequence[float],
        largest: Structure | None = None,
    ) -> None:
        super().__init__()
        c, tokens = structure.embed, side**2 + 1
        self.image = (3, side * PATCH, side * PATCH)
        self.largest = structure if largest is None else largest
        self.patches = _convolution(3, c, PATCH, stride=PATCH)
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
        """Draws all weights anew, as the authors do for scoring and for training alike.

        Linear weights, the class token, the position embedding and the tables of relative positions
        are normal with standard deviation 0.02, truncated at ±2. Biases are 0, layer norms have
        weight 1 and bias 0. The patch embedding keeps PyTorch's rule for convolutions: weights and
        bias are uniform in ±768^-0.5. Values are drawn on the CPU, so that a seed means the same
        weights on every device.
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
                    # Truncated at ±2, which is 100 standard deviations, in the published code.
                    value.normal_(std=0.02, generator=generator)
                parameter.copy_(value)

    @torch.no_grad()
    def inherit(self, seed: int) -> None:
        """Takes all weights from the supernet of a seed, as the authors do when they search.

        The supernet is the largest network of the space. Every weight is the leading part of the
        supernet's weight of the same name: the first rows and columns of a matrix, the first
        channels of an embedding. Of the rows that make queries, keys and values, a layer with
        fewer heads takes the first of each kind. AutoFormer stores these rows in turn (a query, a
        key, a value, the next query) and slices every third, which is the same. So two networks
        share all weights that both have.
        """
        side = self.image[1] // PATCH
        whole = _supernet_weights(self.largest, self.head.out_features, side, seed)
        for name, parameter in self.named_parameters():
            kinds = 3 if ".qkv." in name else 1
            shape = (kinds, parameter.shape[0] // kinds, *parameter.shape[1:])
            of_kind = whole[name].unflatten(0, (kinds, -1))
            parameter.copy_(of_kind[tuple(map(slice, shape))].flatten(0, 1))

    def forward(self, images: Tensor) -> Tensor:
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined]
        if not tracing and tuple(images.shape[1:]) != self.image:
            raise AzlibError(
                f"this AutoFormer network takes images of shape (B, {str(self.image)[1:]}, got "
                f"{tuple(images.shape)}: resize them, or build the network for their size."
            )
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        x = self.norm(self.blocks(x))
        return self.head(x[:, 1:].mean(dim=1))  # average of the patches, without the class token


@lru_cache(maxsize=1)  # a sweep goes from seed to seed, and a search has one
def _supernet_weights(
    largest: Structure, num_classes: int, side: int, seed: int
) -> Mapping[str, Tensor]:
    """The weights of the supernet by their names, drawn from these arguments alone."""
    network = AutoFormerNetwork(largest, num_classes, side, "search", [0.0] * largest.depth)
    network.initialise(stream(seed, str(largest), "supernet"))
    return {name: weight.detach() for name, weight in network.named_parameters()}


class Residual(nn.Module):
    """x + f(LayerNorm(x)), where training drops f from each sample at the given rate."""

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
    """Self-attention with learned relative positions for keys and values; it keeps (B, N, C).

    The tokens are the class token and a `side` × `side` grid of patches. A pair of query and key
    has a vector r = V[row offset] + H[column offset] from a vertical and a horizontal table, which
    all heads share. There are two such pairs of tables: the logits are
    scale × (<query, key> + <query, r of the key tables>), and the output is the sum of
    attention × (value + r of the value tables).

    The offset to a key depends on its row or on its column only. So a query needs `side` products
    with V, `side` with H and one for the class token. These products are appended to the query and
    indicators of row, column and class token to the keys and values; then one fused attention does
    the rest.
    """

    rows: Tensor
    columns: Tensor
    members: Tensor

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
