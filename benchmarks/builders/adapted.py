"""A small transformer with adapters beside its weights, as trainers leave them unmerged."""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, RANK = 64, 4, 4


class LowRank(nn.Module):
    """A linear layer and a low-rank branch beside it; the dropout of training does nothing."""

    def __init__(self, base: nn.Linear, rank: int = RANK, scale: float = 2.0) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        self.dropout, self.scale = nn.Dropout(0.1), scale

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., outputs] of x [..., inputs]."""
        branch: Tensor = self.up(self.down(self.dropout(x))) * self.scale
        result: Tensor = self.base(x) + branch
        return result


class ByMagnitude(LowRank):
    """A low-rank branch whose sum with the base is scaled column by column."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.magnitude = nn.Parameter(torch.rand(base.out_features) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., outputs] of x [..., inputs]."""
        delta = self.up.weight @ self.down.weight * self.scale
        norm = torch.linalg.norm(self.base.weight + delta, dim=1)
        gain = (self.magnitude / norm).view(1, -1)
        plain = functional.linear(x, self.base.weight)
        branch = self.up(self.down(x)) * self.scale
        bias: Tensor = self.base.bias
        result: Tensor = plain + bias + (gain - 1) * plain + gain * branch
        return result


class LowRankTable(nn.Module):
    """An embedding and a low-rank one beside it."""

    def __init__(self, base: nn.Embedding, rank: int = RANK, scale: float = 0.5) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.down = nn.Parameter(torch.randn(rank, base.num_embeddings))
        self.up = nn.Parameter(torch.randn(base.embedding_dim, rank))

    def forward(self, ids: Tensor) -> Tensor:
        """Return [..., width] of ids [...]."""
        rows = functional.embedding(ids, self.down.T) @ self.up.T
        result: Tensor = self.base(ids) + rows * self.scale
        return result


class LowRankConv(nn.Module):
    """A convolution and a low-rank one beside it: the same kernel down, one by one up."""

    def __init__(self, base: nn.Conv2d, rank: int = RANK, scale: float = 1.5) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.down = nn.Conv2d(
            base.in_channels,
            rank,
            base.kernel_size,
            base.stride,
            base.padding,
            bias=False,
        )
        self.up = nn.Conv2d(rank, base.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, outputs, height, width]."""
        result: Tensor = self.base(x) + self.up(self.down(x)) * self.scale
        return result


class Residual(nn.Module):
    """An adapter of two convolutions, the second one in groups, added to its own input."""

    def __init__(self, width: int, hidden: int = 8, groups: int = 2, scale: float = 0.1) -> None:
        super().__init__()
        self.down = nn.Conv1d(width, hidden, 1)
        self.up = nn.Conv1d(hidden, width, 1, groups=groups)
        self.dropout, self.scale = nn.Dropout(0.1), scale

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, tokens, width] of the same."""
        x = x.transpose(1, 2)
        x = self.up(self.dropout(self.down(x))) * self.scale + x
        return x.transpose(1, 2).contiguous()


class Block(nn.Module):
    """A transformer block; its linear layers can be replaced by adapted ones."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.before1: nn.Module = nn.Identity()
        self.before2: nn.Module = nn.Identity()
        self.query: nn.Module = nn.Linear(WIDTH, WIDTH)
        self.key: nn.Module = nn.Linear(WIDTH, WIDTH)
        self.value: nn.Module = nn.Linear(WIDTH, WIDTH)
        self.out: nn.Module = nn.Linear(WIDTH, WIDTH)
        self.wide: nn.Module = nn.Linear(WIDTH, 2 * WIDTH)
        self.narrow: nn.Module = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, tokens, width] of the same."""
        y = self.before1(self.norm1(x))
        q, k, v = (self._heads(part(y)) for part in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        y = self.before2(self.norm2(x))
        result: Tensor = x + self.narrow(functional.gelu(self.wide(y)))
        return result

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class Adapted(nn.Module):
    """Two blocks between an embedding and a classifier."""

    def __init__(self, kind: str) -> None:
        """Choose the adapters: "lora" or "repadapter"."""
        super().__init__()
        self.table: nn.Module = nn.Embedding(500, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.patch: nn.Module = nn.Conv2d(1, 4, 3, padding=1)
        self.head: nn.Module = nn.Linear(WIDTH, 10)
        {"lora": self._add_low_rank, "repadapter": self._add_residual}[kind]()

    def _add_low_rank(self) -> None:
        self.table = LowRankTable(self.table)
        self.patch = LowRankConv(self.patch)
        for block in self.blocks:
            for name in ("query", "value", "wide", "narrow"):
                setattr(block, name, LowRank(getattr(block, name)))
            block.out = ByMagnitude(block.out)
            # Two on one layer, as two tasks leave them.
            block.narrow = TwoBranches(block.narrow)
        self.head = LowRank(self.head)

    def _add_residual(self) -> None:
        for block in self.blocks:
            block.before1, block.before2 = Residual(WIDTH), Residual(WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [batch, 10] of ids [batch, tokens]."""
        x: Tensor = self.table(ids)
        for block in self.blocks:
            x = block(x)
        x = self.patch(x.unsqueeze(1)).mean(1)
        logits: Tensor = self.head(x.mean(1))
        return logits


class TwoBranches(nn.Module):
    """A second branch beside a layer that has one already."""

    def __init__(self, first: LowRank) -> None:
        super().__init__()
        self.first = first
        self.down = nn.Linear(first.base.in_features, 2 * RANK, bias=False)
        self.up = nn.Linear(2 * RANK, first.base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., outputs] of x [..., inputs]."""
        result: Tensor = self.up(self.down(x)) * 0.5 + self.first(x)
        return result
