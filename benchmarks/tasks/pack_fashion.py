"""Write the images of the Fashion-MNIST task from Debian's package dataset-fashion-mnist.

    python -m benchmarks.tasks.pack_fashion

All test images with their labels, and training images for calibration: .npz files, compressed as a
whole by LZMA, which takes a sixth less than the original files.
"""

import gzip
import io
import lzma
from pathlib import Path

import numpy as np

DATASET = Path("/usr/share/datasets/fashion-mnist")
DATA = Path(__file__).resolve().parent / "data"
CALIBRATION = 512
SEED = 7


def read_split(split: str, folder: Path = DATASET) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 [n, 28, 28], and labels, uint8 [n].

    Args:
        split: "train" or "t10k".
        folder: where the files of the data set are.
    """
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"{split}-{kind}.gz").read_bytes())[header:], "u1")
        for kind, header in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    return images.reshape(-1, 28, 28), labels


def write_split(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write images and labels to a file that `read_packed` reads."""
    archive = io.BytesIO()
    np.savez(archive, images=images, labels=labels)
    path.write_bytes(lzma.compress(archive.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def read_packed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 [n, 28, 28], and labels, uint8 [n]."""
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


def main() -> None:
    """Write both files."""
    DATA.mkdir(exist_ok=True)
    write_split(DATA / "fashion-test.npz.xz", *read_split("t10k"))
    images, labels = read_split("train")
    chosen = np.random.default_rng(SEED).choice(len(images), CALIBRATION, replace=False)
    write_split(DATA / "fashion-calibration.npz.xz", images[chosen], labels[chosen])


if __name__ == "__main__":
    main()
