"""The two networks that learn Fashion-MNIST: a residual CNN and a vision transformer."""

from itertools import pairwise

import torch
from torch import Tensor, nn

CLASSES = 10
TOKENS = 16
"""Of a picture, in 4 rows: each stands for 7x7 pixels and what is around them."""


class ConvBlock(nn.Module):
    """A residual block of two convolutions, separable ones unless `full`, each with BatchNorm.

    Maps [batch, channels, height, width] to [batch, width of the block, height / stride, ...].
    """

    def __init__(self, channels: int, width: int, *, stride: int = 1, full: bool = False) -> None:
        super().__init__()
        layer = _full if full else _separable
        self.body = nn.Sequential(layer(channels, width, stride), nn.ReLU(), layer(width, width, 1))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Add what the convolutions make of the features to them."""
        return torch.relu(self.body(features) + self.shortcut(features))


def _full(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
    )


def _separable(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, width, 1, bias=False),
        nn.BatchNorm2d(width),
    )


def residual_cnn() -> nn.Module:
    """Return a network from images [batch, 1, 28, 28] to logits [batch, 10].

    ResNet's basic blocks (He et al., 2016), with the separable convolutions of MobileNet (Howard
    et al., 2017) in all but the first of them.
    """
    widths = (64, 64, 128, 128, 128)
    blocks = [
        ConvBlock(before, after, stride=2 if after > before else 1)
        for before, after in pairwise(widths)
    ]
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        ConvBlock(16, 32, stride=2, full=True),
        ConvBlock(32, 64),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(widths[-1], CLASSES),
    )


class AttentionBlock(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and beside a residual connection."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = expansion * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [batch, length, width] to as many."""
        batch, length, width = tokens.shape
        split = self.qkv(self.norm1(tokens)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return tokens + self.mlp(self.norm2(tokens))


def _convolution(channels: int, width: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
    return convolution, nn.BatchNorm2d(width), nn.ReLU()


class VisionTransformer(nn.Module):
    """A pre-LN vision transformer (Dosovitskiy et al., 2021) of 16 tokens.

    Convolutions with BatchNorm make the tokens, which learns faster than cutting out patches (Xiao
    et al., 2021, "Early convolutions help transformers see better"); the mean of all tokens is
    classified.
    """

    def __init__(self, width: int = 64, depth: int = 4, heads: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            *_convolution(1, width // 4, 1),
            *_convolution(width // 4, width // 2, 2),
            *_convolution(width // 2, width, 2),
            nn.Conv2d(width, width, 3, 2, 1),
        )
        self.positions = nn.Parameter(0.02 * torch.randn(1, TOKENS, width))
        self.blocks = nn.Sequential(
            *(AttentionBlock(width, heads, expansion) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [batch, 1, 28, 28] to logits [batch, 10]."""
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits
