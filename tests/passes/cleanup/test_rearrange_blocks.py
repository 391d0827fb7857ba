"""rearrange-blocks: pixels become channels and channels pixels, in ONNX's order or another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "rearrange-blocks"
Fires = Callable[..., Graph]
Misses = Callable[..., None]

CHANNELS_FIRST = "float[1, 3, 4, 6] x"
CHANNELS_LAST = "float[1, 4, 6, 8] x"


def model(body: str, inputs: str) -> str:
    return f"g ({inputs}) => (float y) {{ {body} }}"


def patches(starts: list[tuple[int, int]], axes: tuple[int, int], join: int) -> str:
    """Every second element along two axes from each of ``starts``, joined along ``join``."""
    lines = [f"s{n} = Slice(x, at{a}{b}, end, axes, two)" for n, (a, b) in enumerate(starts)]
    parts = ", ".join(f"s{n}" for n in range(len(starts)))
    return f"{' '.join(lines)} y = Concat<axis = {join}>({parts})"


def constants(body: str, axes: tuple[int, int], step: int = 2) -> dict[str, Any]:
    every = {f"at{a}{b}": np.array([a, b]) for a in range(2) for b in range(2)}
    named = {name: array for name, array in every.items() if name in body}
    return {**named, "end": np.array([99, 99]), "axes": np.array(axes), "two": np.array([step] * 2)}


ROWS_FIRST = [(0, 0), (0, 1), (1, 0), (1, 1)]
COLUMNS_FIRST = [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("starts", "inputs", "axes", "join", "expected"),
    [
        (ROWS_FIRST, CHANNELS_FIRST, (2, 3), 1, "SpaceToDepth"),
        (ROWS_FIRST, CHANNELS_FIRST, (-2, -1), 1, "SpaceToDepth"),
        (COLUMNS_FIRST, CHANNELS_FIRST, (2, 3), 1, "Reshape Transpose Reshape"),
        (COLUMNS_FIRST, CHANNELS_LAST, (1, 2), 3, "Reshape Transpose Reshape"),
        (ROWS_FIRST, CHANNELS_LAST, (1, 2), -1, "Reshape Transpose Reshape"),
        (ROWS_FIRST, "float[2, 4, 6] x", (1, 2), 0, "Reshape Transpose Reshape"),
    ],
)
def test_patches(
    fires: Fires, starts: list[tuple[int, int]], inputs: str, axes: tuple[int, int], join: int,
    expected: str,
) -> None:  # fmt: skip
    body = patches(starts, axes, join)
    after = fires(NAME, model(body, inputs), "patches", **constants(body, axes))
    assert [node.op_type for node in after] == expected.split()


@pytest.mark.parametrize(
    ("shape", "perm", "result", "expected", "attributes"),
    [
        ([1, 3, 2, 2, 3, 2], [0, 3, 5, 1, 2, 4], [1, 12, 2, 3], "SpaceToDepth", {"blocksize": 2}),
        ([1, 2, 2, 3, 4, 6], [0, 3, 4, 1, 5, 2], [1, 3, 8, 12], "DepthToSpace",
         {"blocksize": 2, "mode": "DCR"}),
        ([1, 3, 2, 2, 4, 6], [0, 1, 4, 2, 5, 3], [1, 3, 8, 12], "DepthToSpace",
         {"blocksize": 2, "mode": "CRD"}),
    ],
)  # fmt: skip
def test_blocks(
    fires: Fires, shape: list[int], perm: list[int], result: list[int], expected: str,
    attributes: dict[str, Any],
) -> None:  # fmt: skip
    inputs = CHANNELS_FIRST if expected == "SpaceToDepth" else "float[1, 12, 4, 6] x"
    text = model(f"a = Reshape(x, s) t = Transpose<perm = {perm}>(a) y = Reshape(t, r)", inputs)
    after = fires(NAME, text, "blocks", s=np.array(shape), r=np.array(result))
    (node,) = after
    assert (node.op_type, node.attributes) == (expected, attributes)


@pytest.mark.parametrize(
    ("starts", "inputs", "axes", "join", "step", "reason"),
    [
        (ROWS_FIRST, 'float[1, 3, "h", 6] x', (2, 3), 1, 2, "not known"),
        (ROWS_FIRST, "float[1, 3, 5, 6] x", (2, 3), 1, 2, None),
        (ROWS_FIRST[:3], CHANNELS_FIRST, (2, 3), 1, 2, "four slices"),
        ([(0, 0), (0, 1), (1, 0), (0, 1)], CHANNELS_FIRST, (2, 3), 1, 2, "every element once"),
        ([(0, 1), (0, 0), (1, 0), (1, 1)], CHANNELS_FIRST, (2, 3), 1, 2, "in order"),
        (ROWS_FIRST, CHANNELS_FIRST, (2, 3), 2, 2, "the one that is joined"),
        (ROWS_FIRST, "float[1, 3, 6, 6] x", (2, 3), 1, 3, "every element once"),
        (ROWS_FIRST, CHANNELS_FIRST, (2, 3), 1, 1, None),
    ],
)
def test_other_patches_stay(
    misses: Misses, starts: list[tuple[int, int]], inputs: str, axes: tuple[int, int], join: int,
    step: int, reason: str | None,
) -> None:  # fmt: skip
    body = patches(starts, axes, join)
    if "5, 6" in inputs:
        body = patches(starts[:2] * 2, axes, join)
    if step == 1:
        body = patches([(0, 0)] * 4, axes, join)
    misses(NAME, model(body, inputs), reason, **constants(body, axes, step))


def test_patches_that_are_read_by_themselves_stay(misses: Misses) -> None:
    body = patches(ROWS_FIRST, (2, 3), 1).replace("y =", "z =") + " n = Neg(s0) "
    body += "y = Concat<axis = 1>(z, n)"
    misses(NAME, model(body, CHANNELS_FIRST), "also read", **constants(body, (2, 3)))


@pytest.mark.parametrize(
    ("shape", "perm", "result", "reason"),
    [
        ([1, 3, 2, 2, 3, 2], [0, 3, 5, 2, 1, 4], [1, 12, 2, 3], "not those of blocks"),
        ([1, 3, 2, 2, 3, 2], [0, 3, 5, 1, 2, 4], [1, 6, 4, 3], "not those of blocks"),
        ([1, 3, 4, 1, 2, 3], [0, 3, 5, 1, 2, 4], [1, 9, 4, 2], "not those of blocks"),
        ([1, 3, 4, 6], [0, 2, 3, 1], [1, 4, 18, 1], "no image"),
    ],
)
def test_other_transposes_stay(
    misses: Misses, shape: list[int], perm: list[int], result: list[int], reason: str
) -> None:
    text = model(f"a = Reshape(x, s) t = Transpose<perm = {perm}>(a) y = Reshape(t, r)",
                 CHANNELS_FIRST)  # fmt: skip
    misses(NAME, text, reason, s=np.array(shape), r=np.array(result))


def test_blocks_of_unknown_size_stay(misses: Misses) -> None:
    text = model("a = Reshape(x, s) t = Transpose<perm = [0, 3, 5, 1, 2, 4]>(a) y = Reshape(t, r)",
                 'float["n", 3, 4, 6] x')  # fmt: skip
    misses(NAME, text, "not known", s=np.array([1, 3, 2, 2, 3, 2]), r=np.array([1, 12, 2, 3]))


def test_slices_stay_for_code_generation(misses: Misses) -> None:
    body = patches(ROWS_FIRST, (2, 3), 1)
    misses(NAME, model(body, CHANNELS_FIRST), None, target=True, **constants(body, (2, 3)))
