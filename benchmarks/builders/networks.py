"""Small torch networks with structures that the classifiers lack: recurrence, decoders, heads."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Recurrent(nn.Module):
    """Two recurrent layers in both directions over [batch, steps, 24], then a classifier."""

    def __init__(self, cell: str) -> None:
        """Choose the layer: "lstm" or "gru"."""
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.layers = layer(24, 40, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(80, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [batch, steps, 10] and the last hidden states [4, batch, 40]."""
        states, last = self.layers(x)
        hidden = last[0] if isinstance(last, tuple) else last
        return self.head(states).softmax(-1), hidden


class Scripted(nn.Module):
    """Control flow that depends on data: exported through torch.jit.script it keeps If and Loop."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(16, 16)
        self.other = nn.Linear(16, 16)

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        """Apply a layer `steps` (int64 []) times to x [batch, 16], then one of two branches."""
        for _ in range(int(steps.item())):
            x = torch.tanh(self.step(x)) + 0.5 * x
        if bool((x.sum() > 0).item()):
            return torch.relu(self.other(x))
        return torch.sigmoid(x) - 1.0


class UNet(nn.Module):
    """Segmentation: two levels down, two up by ConvTranspose2d, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = self._block(3, 16)
        self.down1 = self._block(16, 32)
        self.down2 = self._block(32, 64)
        self.up2 = nn.ConvTranspose2d(64, 32, 2, stride=2)
        self.join2 = self._block(64, 32)
        self.up1 = nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1)
        self.join1 = self._block(32, 16)
        self.head = nn.Conv2d(16, 4, 1)

    @staticmethod
    def _block(entering: int, leaving: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(entering, leaving, 3, padding=1, bias=False),
            nn.BatchNorm2d(leaving),
            nn.LeakyReLU(0.1),
            nn.Conv2d(leaving, leaving, 3, padding=2, dilation=2),
            nn.PReLU(leaving),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return class logits [batch, 4, height, width]."""
        level0 = self.enter(x)
        level1 = self.down1(functional.max_pool2d(level0, 2))
        level2 = self.down2(functional.avg_pool2d(level1, 2))
        level1 = self.join2(torch.cat([self.up2(level2), level1], dim=1))
        level0 = self.join1(torch.cat([self.up1(level1), level0], dim=1))
        logits: Tensor = self.head(level0)
        return logits


class YoloHead(nn.Module):
    """A small backbone and a head as YOLO has: Resize, Concat, Split, decoded boxes."""

    def __init__(self, classes: int = 20, bins: int = 8) -> None:
        super().__init__()
        self.bins, self.classes = bins, classes
        self.stem = self._cell(3, 16, 2)
        self.fine = self._cell(16, 32, 2)
        self.coarse = nn.Sequential(self._cell(32, 64, 2), nn.MaxPool2d(5, 1, 2))
        self.merge = self._cell(96, 32, 1)
        self.head = nn.Conv2d(32, 4 * bins + classes, 1)
        self.register_buffer("positions", torch.arange(bins, dtype=torch.float32))

    @staticmethod
    def _cell(entering: int, leaving: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(entering, leaving, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(leaving),
            nn.SiLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, 4 + classes, cells]: corners of boxes in pixels, then scores."""
        fine = self.fine(self.stem(x))
        coarse = self.coarse(fine)
        wide = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        raw = self.head(self.merge(torch.cat([wide, fine], dim=1)))
        batch, _, rows, columns = raw.shape
        sides, scores = raw.flatten(2).split([4 * self.bins, self.classes], dim=1)
        share = sides.view(batch, 4, self.bins, -1).softmax(2)
        distance = (share * self.positions.view(1, 1, -1, 1)).sum(2)
        y, x_ = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centre = torch.stack([x_, y]).flatten(1).to(raw.dtype) + 0.5
        corners = torch.cat([centre - distance[:, :2], centre + distance[:, 2:]], dim=1)
        return torch.cat([corners * 4.0, scores.sigmoid()], dim=1)


class HalfNet(nn.Module):
    """A convolutional classifier that is exported in float16 throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, 3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.Hardswish(),
            nn.Conv2d(24, 24, 3, padding=1, groups=24),
            nn.ReLU6(),
            nn.Conv2d(24, 48, 1),
            nn.GELU(),
        )
        self.norm = nn.GroupNorm(4, 48)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [batch, 10] for float16 pictures [batch, 3, height, width]."""
        features = self.norm(self.features(x))
        logits: Tensor = self.head(functional.hardsigmoid(features).mean((2, 3)))
        return logits


class Vocoder(nn.Module):
    """One-dimensional convolutions over sound: dilated, causal padding, gated, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(20, 32, 7, padding=3, padding_mode="reflect")
        self.dilated = nn.ModuleList(nn.Conv1d(32, 64, 3, dilation=2**i) for i in range(3))
        self.norm = nn.InstanceNorm1d(32, affine=True)
        self.up = nn.ConvTranspose1d(32, 8, 8, stride=4, padding=2)
        self.head = nn.Conv1d(8, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        """Return a wave [batch, 1, 4 * frames] for features [batch, 20, frames]."""
        x = self.enter(mel)
        for power, layer in enumerate(self.dilated):
            gate, value = layer(functional.pad(x, (2 * 2**power, 0))).chunk(2, dim=1)
            x = x + torch.sigmoid(gate) * torch.tanh(value)
        return torch.tanh(self.head(functional.elu(self.up(self.norm(x)))))


class TopChoice(nn.Module):
    """Retrieval over a table of embeddings: EmbeddingBag-like sums, cosine, TopK, Gather."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(500, 32)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores [batch, 5] and rows int64 [batch, 5] nearest to ids [batch, n]."""
        query = functional.normalize(self.table(ids).mean(1), dim=-1)
        keys = functional.normalize(self.table.weight, dim=-1)
        found = torch.topk(query @ keys.T, 5, dim=-1)
        return found.values, found.indices


class Tail(nn.Module):
    """Operators of the long tail, each of which some real model needs."""

    def forward(self, x: Tensor, grid: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        """Warp, resample, scatter and scan.

        Args:
            x: float32 [batch, 4, 12, 12].
            grid: float32 [batch, 8, 8, 2], places in [-1, 1].
            rows: int64 [batch, 4, 3, 12], row numbers below 12.
        """
        warped = functional.grid_sample(x, grid, align_corners=False)
        larger = functional.interpolate(x, size=(19, 23), mode="bilinear", align_corners=True)
        cubic = functional.interpolate(x, scale_factor=1.5, mode="bicubic")
        product = torch.einsum("bchw,bdhw->bcd", x, x.flip(-1).roll(3, -2))
        scattered = x.scatter(2, rows, x.gather(2, rows).cumsum(-1))
        centred = (x - x.mean((1, 2), keepdim=True)) / (x.var(3, keepdim=True) + 1e-3).sqrt()
        best = scattered.argmax(-1)
        mixed = torch.where(centred > 0, scattered.logsumexp(1, keepdim=True), centred.tril())
        return warped, larger, cubic, product, mixed, best


class Branching(nn.Module):
    """Control flow that torch.export keeps: a branch and a loop chosen by data."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, 16] for x [batch, 16]."""
        return torch.cond(x.sum() > 0, lambda v: self.step(v).relu(), lambda v: v.sin() - 1.0, (x,))


class ResidualNet(nn.Module):
    """Two residual blocks whose normalizations the exporter is told to leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 24, 7, stride=2, padding=3, bias=False)
        self.first = nn.BatchNorm2d(24)
        self.convolutions = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(24) for _ in range(4))
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [batch, 10] for pictures [batch, 3, height, width]."""
        x = functional.max_pool2d(self.first(self.enter(x)).relu(), 3, 2, 1)
        for first in (0, 2):
            y = self.norms[first](self.convolutions[first](x)).relu()
            x = (x + self.norms[first + 1](self.convolutions[first + 1](y))).relu()
        logits: Tensor = self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits
