"""Small networks of many kinds, written as people write them, without a word on their blocks."""

from __future__ import annotations

import torch
from torch import nn


def conv(a: int, b: int, k: int = 3, s: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(a, b, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(b), nn.ReLU()
    )


class _Slope(torch.autograd.Function):
    """The derivative of a square, which has none itself, as of many an operation of PyTorch."""

    @staticmethod
    def forward(ctx, x, g):
        return 2 * x * g

    @staticmethod
    def backward(ctx, g):
        raise NotImplementedError("the derivative of the square's derivative is not implemented")


class SquareOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return _Slope.apply(*ctx.saved_tensors, g)


class NoSecondDerivative(nn.Module):
    def forward(self, x):
        return SquareOf.apply(x)


class Head(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc = nn.Linear(width, 5)

    def forward(self, x):
        return self.fc(x.flatten(2).mean(2))


class Residual(nn.Module):
    """A bottleneck with squeeze-and-excitation and a shortcut."""

    def __init__(self, a, b, s=1, scale=1.0):
        super().__init__()
        self.main = nn.Sequential(conv(a, b, 1), conv(b, b, 3, s, groups=2), nn.Conv2d(b, b, 1))
        self.squeeze = nn.Sequential(nn.Conv2d(b, 4, 1), nn.ReLU(), nn.Conv2d(4, b, 1))
        self.shortcut = nn.Conv2d(a, b, 1, s) if a != b or s > 1 else nn.Identity()
        self.scale = nn.Parameter(torch.full((b, 1, 1), scale))

    def forward(self, x):
        y = self.main(x)
        y = y * self.squeeze(y.mean((2, 3), keepdim=True)).sigmoid()
        return self.shortcut(x) + self.scale * y


class DenseLayers(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        self.layers = nn.ModuleList(conv(width + i * growth, growth) for i in range(3))

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class Branches(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.one, self.three = conv(a, b, 1), nn.Sequential(conv(a, b, 1), conv(b, b))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(a, b, 1))

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x), self.pool(x)], 1)


class Attention(nn.Module):
    def __init__(self, width, heads=2):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(*qkv.unbind())
        return self.out(y.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    """A pre-norm transformer block; windows and channels last if it is fed maps."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x.flatten(1, -2))).reshape(x.shape)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, width=16, depth=3):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Encoder(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Merge(nn.Module):
    """Halves the resolution of (B, H, W, C)."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width)

    def forward(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(2, 3).flatten(3)
        return self.reduction(self.norm(x))


class SwinLike(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, width, 2, 2), nn.LayerNorm(width)
        self.stages = nn.Sequential(
            nn.Sequential(Encoder(width), Encoder(width)),
            Merge(width),
            nn.Sequential(Encoder(2 * width), Encoder(2 * width)),
        )
        self.head = nn.Linear(2 * width, 5)

    def forward(self, x):
        x = self.stages(self.norm(self.patches(x).permute(0, 2, 3, 1)))
        return self.head(x.mean((1, 2)))


class MixerBlock(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 8), nn.GELU(), nn.Linear(8, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).mT).mT
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(*(MixerBlock(16, width) for _ in range(3)))
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x).flatten(2).mT).mean(1))


class Parallel(nn.Module):
    """Two resolutions side by side that exchange, as in HRNet: most of it lies between two cuts."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8), conv(8, 8))
        self.fine = nn.ModuleList(conv(8, 8) for _ in range(6))
        self.coarse = nn.ModuleList(conv(8, 8) for _ in range(6))
        self.down = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2)
        self.join, self.head = conv(8, 8, 1), Head(8)

    def forward(self, x):
        x = self.stem(x)
        y = self.down(x)
        for fine, coarse in zip(self.fine, self.coarse, strict=True):
            x, y = fine(x) + self.up(y), coarse(y) + self.down(x)
        return self.head(self.join(x + self.up(y)))


class NoCut(nn.Module):
    """Two towers that meet only in the sum of their logits."""

    def __init__(self):
        super().__init__()
        self.left, self.right = (nn.Sequential(conv(3, 8), conv(8, 8), Head(8)) for _ in range(2))

    def forward(self, x):
        return self.left(x) + self.right(x)


class Recurrent(nn.Module):
    """Token ids to classes, through two LSTMs."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 12)
        self.first = nn.LSTM(12, 12, batch_first=True)
        self.second = nn.LSTM(12, 12, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, 5)

    def forward(self, ids):
        x, _ = self.first(self.embedding(ids))
        x, _ = self.second(x)
        return self.head(x[:, -1])


class Text(nn.Module):
    """Token ids with positions, a transformer, and a dictionary as output."""

    def __init__(self):
        super().__init__()
        self.words, self.positions = nn.Embedding(40, 16), nn.Embedding(64, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, ids):
        x = self.encoder(
            self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        )
        return {"hidden": x, "logits": self.head(x.mean(1))}


def chain() -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in ((3, 8), (8, 8), (8, 16)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 4, 32), nn.ReLU(), nn.Linear(32, 5))


def signal() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, 2), nn.ReLU(), nn.Conv1d(8, 16, 5, 2), nn.ReLU(), nn.Conv1d(16, 16, 3),
        nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def volume() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(1, 6, 3), nn.ReLU(), nn.Conv3d(6, 6, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 5),
    )  # fmt: skip


def decoder() -> nn.Sequential:
    return nn.Sequential(
        conv(3, 8, s=2), conv(8, 12, s=2),
        nn.ConvTranspose2d(12, 8, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 1),
    )  # fmt: skip


def residual(scale: float = 1.0) -> nn.Sequential:
    blocks = [Residual(8, 8, 1, scale), Residual(8, 8, 1, scale), Residual(8, 16, 2, scale)]
    return nn.Sequential(conv(3, 8), nn.Sequential(*blocks), Head(16))


def dense() -> nn.Sequential:
    return nn.Sequential(
        conv(3, 8), DenseLayers(8, 4), conv(20, 10, 1, 2), DenseLayers(10, 4), Head(22)
    )


def branches() -> nn.Sequential:
    return nn.Sequential(
        conv(3, 8), Branches(8, 4), Branches(12, 4), nn.MaxPool2d(2), Branches(12, 6), Head(18)
    )


def perceptron() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 5)
    )


IMAGES = (4, 3, 16, 16)
KINDS = {
    "residual": (residual, IMAGES, ["0", "1.0", "1.1", "1.2"]),
    "dense": (dense, IMAGES, ["0", "1", "2", "3"]),
    "branches": (branches, IMAGES, ["0", "1", "2", "4"]),
    "chain": (chain, IMAGES, ["1", "4", "7"]),
    "vit": (ViT, IMAGES, ["blocks.0", "blocks.1", "blocks.2"]),
    "swin": (
        SwinLike,
        IMAGES,
        ["norm", *(f"stages.{n}" for n in ("0.0", "0.1", "1", "2.0", "2.1"))],
    ),
    "mixer": (Mixer, IMAGES, ["blocks.0", "blocks.1", "blocks.2"]),
    "signal": (signal, (4, 2, 64), ["1", "3", "5"]),
    "volume": (volume, (4, 1, 9, 9, 9), ["1", "3"]),
    "decoder": (decoder, IMAGES, ["0", "1", "3", "5"]),
    "recurrent": (Recurrent, (4, 9), ["first", "second"]),
    "text": (Text, (4, 9), [f"encoder.layers.{i}" for i in range(3)]),
    "perceptron": (perceptron, (8, 10), ["1", "3"]),
}
"""What builds each network, the shape of its input, and the blocks that a person would name."""
