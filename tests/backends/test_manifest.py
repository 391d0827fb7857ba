"""Manifests: what is written can be read, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from burnish import target
from burnish.backends.manifest import (
    MAX_THREADS,
    EntrySpec,
    FileSpec,
    Manifest,
    Port,
    Segment,
    TargetSpec,
)
from burnish.errors import InvalidInput


def manifest() -> Manifest:
    region = Segment(
        2,
        3,
        "regions/0.onnx",
        (Port("a", "float32", (2, 3), buffer=4),),
        (Port("b", "int64", (-1,), value=0),),
    )
    entry = EntrySpec(
        (Port("x", "float32", (2, 3)),),
        (Port("b", "int64", (-1,), value=0), Port("c", "int64", (2, -1), most=6)),
        (Segment(0, 2), region),
        128,
    )
    return Manifest(
        target=TargetSpec("cpu", "x86_64", "x86_64-linux-gnu", ("avx2",)),
        threads=2,
        entries=(entry,),
        passes=({"name": "fold", "options": {}},),
        files={"model.so": FileSpec(3, "ab")},
    )


def test_round_trip() -> None:
    assert Manifest.from_json(manifest().to_json()) == manifest()


def test_text_is_the_same_each_time_and_ends_with_a_newline() -> None:
    assert manifest().to_json() == manifest().to_json()
    assert manifest().to_json().endswith("}\n")


def damage(path: str, value: Any) -> str:
    """The manifest with one place, such as `entries.0.inputs`, set to another value."""
    root = at = json.loads(manifest().to_json())
    *steps, last = path.split(".")
    for step in steps:
        at = at[int(step) if step.isdigit() else step]
    at[int(last) if last.isdigit() else last] = value
    return json.dumps(root)


PRECISION = {
    "products": "bf16", "weights": "f32", "rounded": 1, "eligible": 2, "errors": {"y": 0.01},
}  # fmt: skip


QUANTIZATION = {"format": "int8", "layers": 7, "of": 8, "loss": "30.1 dB", "bound": "20 dB"}


def test_a_quantization_is_read() -> None:
    found = Manifest.from_json(damage("quantization", QUANTIZATION))
    assert found.quantization == QUANTIZATION
    assert Manifest.from_json(found.to_json()) == found


def test_a_precision_is_read() -> None:
    assert Manifest.from_json(damage("precision", PRECISION)).precision == PRECISION


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 2, "has format 2, and this burnish reads format 1"),
        ("threads", 0, "threads is 0, not within 1 to 1024"),
        ("threads", True, "threads must be of type int, not bool"),
        ("threads", "2", "threads must be of type int, not str"),
        ("entries", [], "entries is empty"),
        ("entries.0.outputs.1.shape", [2, 6], "not one size alone is open"),
        ("entries.0.outputs.1.shape", [-1, -1], "not one size alone is open"),
        ("entries.0.outputs.1.value", 0, "not one size alone is open"),
        ("entries.0.outputs.1.most", -1, "most is -1, not within 0"),
        ("entries.0.inputs.0", {"name": "x", "dtype": "int8", "shape": [-1], "most": 3}, "is open"),
        ("entries", {}, "entries must be of type list"),
        ("entries", [7], r"entries\[0\] must be an object"),
        ("target", None, "target must be an object"),
        ("target.features", [1], "features must be a list of strings"),
        ("tolerance", -1, "tolerance must be a number from 0 to 1"),
        ("tolerance", float("nan"), "tolerance must be a number from 0 to 1"),
        ("entries.0.arena_bytes", -1, "arena_bytes is -1"),
        ("quantization", [], "quantization must be an object"),
        ("quantization", QUANTIZATION | {"loss": 3}, "loss must be of type str"),
        ("quantization", QUANTIZATION | {"layers": 9}, "layers is 9, not within 0 to 8"),
        ("precision", 7, "precision must be an object"),
        ("precision", {"products": 7}, "products must be of type str"),
        ("precision", PRECISION | {"rounded": -1}, "rounded is -1"),
        ("precision", PRECISION | {"errors": {"y": "much"}}, "errors: 'y' has no number"),
        ("entries.0.segments.0.last", -1, "last is -1"),
        ("entries.0.segments.1", {"first": 3, "last": 4}, "segments leave a gap at call 2"),
    ],
)
def test_what_cannot_be_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Manifest.from_json(damage(path, value))


PORT = {"name": "x", "dtype": "float32", "shape": [2, 3]}


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (PORT | {"shape": [2.5]}, "shape must be a list of sizes"),
        (PORT | {"shape": [-2]}, "shape must be a list of sizes"),
        (PORT | {"shape": [True]}, "shape must be a list of sizes"),
        (PORT | {"shape": [1 << 63]}, "shape must be a list of sizes"),
        (PORT | {"shape": [1] * 65}, "shape must be a list of sizes"),
        (PORT | {"shape": [-1]}, "a size is open"),
        (PORT | {"dtype": "object"}, "no such dtype as 'object'"),
        (PORT | {"name": 3}, "name must be of type str"),
        ("x", "must be an object"),
    ],
)
def test_ports_that_cannot_be_are_refused(port: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Manifest.from_json(damage("entries.0.inputs", [port]))


@pytest.mark.parametrize(
    "name", ["../model.so", "/etc/passwd", "a/../b", "a//b", "", ".hidden", "a\\b", "a/b/c"]
)
def test_file_names_stay_inside(name: str) -> None:
    with pytest.raises(InvalidInput, match="is no file name of an artifact"):
        Manifest.from_json(damage("files", {name: {"bytes": 1, "sha256": ""}}))
    with pytest.raises(InvalidInput, match="is no file name of an artifact"):
        Manifest.from_json(damage("entries.0.segments.1.region", name))


@pytest.mark.parametrize("path", ["entries.0.inputs", "entries.0.outputs"])
def test_an_open_size_comes_from_a_region(path: str) -> None:
    with pytest.raises(InvalidInput, match="is open, and nothing gives it"):
        Manifest.from_json(damage(path, [PORT | {"shape": [-1], "value": 7}]))


@pytest.mark.parametrize("place", [{}, {"buffer": 1, "value": 1}])
def test_a_tensor_between_engines_lies_in_one_place(place: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="must have a buffer or a value"):
        Manifest.from_json(damage("entries.0.segments.1.inputs", [PORT | place]))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"manifest\.json"):
        Manifest.from_json(text)


def test_what_the_compiler_accepts_can_be_read() -> None:
    assert MAX_THREADS == target.MAX_THREADS
