"""Train the two models of the Fashion-MNIST task, and write them as ONNX.

    python -m benchmarks.tasks.train_fashion cnn
    python -m benchmarks.tasks.train_fashion vit

Needs PyTorch (the extra `zoo`) and Debian's package dataset-fashion-mnist. The schedule is fixed
beforehand, and the test images are looked at once, at the end. With one thread and the same
version of PyTorch on the same processor, the same weights come out.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.tasks.fashion_networks import VisionTransformer, residual_cnn
from benchmarks.tasks.pack_fashion import read_split

MODELS = Path(__file__).resolve().parent / "models"
BATCH = 128
HELD_OUT = 2000
"""Training images, the last of them, that show the progress and are not learnt from."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained."""

    build: Callable[[], nn.Module]
    epochs: int
    rate: float
    """Largest learning rate of AdamW, which is reached after an eighth of all steps."""
    shift: int
    """Pixels by which images are moved at most."""


RECIPES = {
    "cnn": Recipe(residual_cnn, epochs=12, rate=4e-3, shift=2),
    "vit": Recipe(VisionTransformer, epochs=16, rate=2e-3, shift=0),
}


def load_split(split: str) -> tuple[Tensor, Tensor]:
    """Return images, float32 [n, 1, 28, 28] from 0 to 1, and labels, int64 [n]."""
    images, labels = (torch.from_numpy(array.copy()) for array in read_split(split))
    return images[:, None].float() / 255, labels.long()


def augmented(images: Tensor, shift: int) -> Tensor:
    """Return images each flipped or not, and moved by up to `shift` pixels both ways."""
    count, _, height, width = images.shape
    flips = torch.rand(count, 1, 1, 1) < 0.5
    padded = nn.functional.pad(torch.where(flips, images.flip(3), images), [shift] * 4)
    top, left = torch.randint(0, 2 * shift + 1, (2, count, 1, 1))
    rows, columns = top + torch.arange(height)[:, None], left + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], 0, rows, columns][:, None]


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images that the network puts into their class."""
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(part).argmax(1) for part in images.split(500)])
    return float((found == labels).float().mean())


def train(recipe: Recipe, images: Tensor, labels: Tensor, checkpoint: Path) -> nn.Module:
    """Train a network, or go on where a checkpoint left off."""
    torch.manual_seed(0)
    network = recipe.build().to(memory_format=torch.channels_last)
    learnt, held = slice(None, -HELD_OUT), slice(-HELD_OUT, None)
    steps = len(images[learnt]) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.epochs * steps, pct_start=0.125
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        start = state["epoch"]
    for epoch in range(start, recipe.epochs):
        network.train()
        order = torch.randperm(len(images[learnt]))[: steps * BATCH]
        total = 0.0
        for chosen in order.split(BATCH):
            loss = criterion(network(augmented(images[chosen], recipe.shift)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seen = accuracy(network, images[held], labels[held])
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}, held out {seen:.4f}", flush=True)
        state = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "random": torch.get_rng_state(),
            "epoch": epoch + 1,
        }
        torch.save(state, checkpoint)
    return network


def write_onnx(network: nn.Module, path: Path) -> None:
    """Export a network with a symbolic batch; BatchNorm stays an operator of its own."""
    network.eval()
    torch.onnx.export(
        network.to(memory_format=torch.contiguous_format),
        (torch.zeros(2, 1, 28, 28),),
        path,
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        training=torch.onnx.TrainingMode.PRESERVE,
        opset_version=17,
        dynamo=False,
    )


def main() -> None:
    """Train and export the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", choices=sorted(RECIPES))
    parser.add_argument("--checkpoint", type=Path, help="to go on where a run was stopped")
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    checkpoint = chosen.checkpoint or Path(f"fashion-{chosen.model}.pt")
    network = train(RECIPES[chosen.model], *load_split("train"), checkpoint)
    path = chosen.output or MODELS / f"fashion-{chosen.model}.onnx"
    path.parent.mkdir(exist_ok=True)
    write_onnx(network, path)
    print(f"wrote {path}, accuracy on the test images {accuracy(network, *load_split('t10k')):.4f}")


if __name__ == "__main__":
    main()
