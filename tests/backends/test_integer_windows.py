"""Depthwise convolutions of bytes against sums in 64 bits: every element is to be equal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as combinations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering.anchors import integer_windows
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.target import Target
from tests.backends.test_integers import (
    HOST,
    SIGNS,
    Case,
    check,
    different_forms,
    drawn,
    forms,
    runs,
)
from tests.depth import few

QUADS, WIDE = "depthwise-quads", "depthwise-wide"


def case(
    channels: int, spatial: Sequence[int], kernel: Sequence[int], *, x: str = "uint8",
    w: str = "int8", zero: int | None = 5, w_zero: np.ndarray | None = None, batch: int = 1,
    **attributes: object,
) -> Case:  # fmt: skip
    """A window for each channel."""
    data = drawn(x, batch, channels, *spatial)
    weights = drawn(w, channels, 1, *kernel, seed=1)
    given_zero = None if zero is None else np.array(zero, x)
    return Case("ConvInteger", data, weights, given_zero, w_zero, {"group": channels, **attributes})


def windows(x: str) -> list[Case]:
    """Kernels of one to three axes, strides, dilations, borders, channels beside whole vectors."""
    pads = {"pads": [1, 1, 1, 1]}
    return [
        case(96, (7, 9), (3, 3), x=x, strides=[2, 2], **pads),
        case(17, (5, 6), (5, 5), x=x, zero=100, pads=[2, 1, 2, 2]),
        case(33, (9, 10), (3, 3), x=x, dilations=[2, 3], pads=[2, 3, 2, 3]),
        case(66, (6, 7), (2, 4), x=x, batch=2, strides=[1, 2], pads=[0, 1, 1, 2]),
        case(40, (12, 5), (7, 1), x=x, pads=[3, 0, 3, 0]),
        case(20, (23,), (9,), x=x, pads=[4, 4]),
        case(24, (4, 5, 6), (3, 2, 3), x=x, pads=[1, 0, 1, 1, 1, 1]),
        case(32, (6, 6), (3, 3), x=x, zero=None),
    ]


def roles(functions: Sequence[str], role: str) -> int:
    return sum(f'"{role}"' in function for function in functions)


@pytest.mark.parametrize("target", forms(), ids=lambda target: target.name)
def test_every_form_is_exact(target: Target) -> None:
    # Whole vectors of channels and positions beside quads; whole quads and channels beside vectors.
    cases = [windows("int8")[0], case(17, (5, 6), (2, 4), x="int8", zero=100, pads=[1, 2, 0, 1])]
    assert roles(check(cases, target), QUADS) == len(cases)


def test_every_window_is_exact() -> None:
    # Signs make no difference to the form of sums.
    cases = [*windows("uint8")[::2], *windows("int8")[1::2], windows("int8")[0]]
    assert roles(check(cases, HOST.for_integers()), QUADS) == len(cases)


def test_plain_sums_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_windows, "X86", "elsewhere")
    cases = [*windows("int8")[:4], *windows("uint8")[4:]]
    assert roles(check(cases, HOST.for_integers()), WIDE) == len(cases)


@pytest.mark.parametrize("target", different_forms(), ids=lambda target: target.name)
def test_the_largest_sums_do_not_saturate(target: Target) -> None:
    cases = []
    for value, weight, zero in combinations((0, 255), (-128, 127), (0, 255)):
        if value == zero:
            continue
        made = case(32, (3, 4), (3, 3), zero=zero, pads=[1, 1, 1, 1])
        made.x[:], made.weights[:] = value, weight
        cases.append(made)
    check(cases, target)


@pytest.mark.parametrize("signs", SIGNS, ids="-".join)
def test_zero_points_of_weights(signs: tuple[str, str]) -> None:
    x, w = signs
    generator = np.random.default_rng(2)
    limits = np.iinfo(w)
    each = generator.integers(limits.min, limits.max, 24, w)
    one = np.array(128 if w == "uint8" else 0, w)
    pads = {"pads": [1, 1, 1, 1]}
    cases = [
        case(24, (5, 6), (3, 3), x=x, w=w, w_zero=each, **pads),
        case(24, (5, 6), (3, 3), x=x, w=w, w_zero=one, **pads),
    ]
    found = check(cases, HOST.for_integers())
    # Weights less their zero points have 9 bits in the first, 8 in the second.
    assert (roles(found, WIDE), roles(found, QUADS)) == (1, 1)


def test_few_channels_are_widened() -> None:
    found = check([case(n, (5, 6), (3, 3), pads=[1, 1, 1, 1]) for n in (2, 15)], HOST)
    assert roles(found, WIDE) == 2


def test_what_only_looks_depthwise() -> None:
    several = Case(
        "ConvInteger", drawn("uint8", 1, 16, 5, 6), drawn("int8", 8, 2, 3, 3),
        np.array(3, np.uint8), None, {"group": 8},
    )  # fmt: skip
    more = Case(
        "ConvInteger", drawn("uint8", 1, 16, 5, 6), drawn("int8", 32, 1, 3, 3),
        np.array(3, np.uint8), None, {"group": 16},
    )  # fmt: skip
    found = check([several, more], HOST.for_integers())
    assert roles(found, WIDE) + roles(found, QUADS) == 0


@pytest.mark.parametrize("target", different_forms(), ids=lambda target: target.name)
def test_results_become_bytes(target: Target) -> None:
    """What belongs to channels alone follows sums in the order that they come in; all else not."""
    sizes = [(64, 5), (80, 6), (33, 7)] if runs(target) else [(33, 7)]
    inputs, outputs, body, held, feeds, expected = [], [], [], {}, {}, {}
    for n, (channels, side) in enumerate(sizes):
        made = case(channels, (side, side), (2, 2), zero=9, pads=[1, 0, 0, 1])
        scale = np.random.default_rng(n).uniform(1e-4, 3e-3, (1, channels, 1, 1)).astype("f4")
        bias = np.random.default_rng(n).integers(-9999, 9999, (1, channels, 1, 1), np.int32)
        held |= {f"w{n}": made.weights, f"s{n}": scale, f"b{n}": bias}
        shape = f"[1, {channels}, {side}, {side}]"
        inputs.append(f"uint8{shape} x{n}")
        outputs += [f"{kind}{shape} {y}{n}" for kind, y in (("uint8", "y"), ("uint8", "z"))]
        windows = f"ConvInteger<group = {channels}, pads = [1, 0, 0, 1]>(x{n}, w{n}, a)"
        body += [f"i{n} = {windows} j{n} = Add(i{n}, b{n}) f{n} = Cast<to = 1>(j{n})",
                 f"m{n} = Mul(f{n}, s{n}) y{n} = QuantizeLinear(m{n}, one, five)",
                 f"k{n} = {windows} g{n} = Cast<to = 1>(k{n}) o{n} = Mul(g{n}, s{n})",
                 f"c{n} = Cast<to = 1>(x{n}) p{n} = Add(o{n}, c{n})",
                 f"z{n} = QuantizeLinear(p{n}, one, five)"]  # fmt: skip
        feeds[f"x{n}"] = made.x
        sums = made.expected
        value = (sums + bias).astype(np.float32) * scale
        expected[f"y{n}"] = np.clip(np.rint(value) + 5, 0, 255).astype(np.uint8)
        value = sums.astype(np.float32) * scale + made.x.astype(np.float32)
        expected[f"z{n}"] = np.clip(np.rint(value) + 5, 0, 255).astype(np.uint8)
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
        g ({", ".join(inputs)}) => ({", ".join(outputs)})
        <uint8 a = {{9}}, uint8 five = {{5}}, float one = {{1}}> {{ {" ".join(body)} }}"""
    text = text.replace(") =>", "".join(
        f", {kind}[{', '.join(map(str, held[name].shape))}] {name}"
        for name in held for kind in [{"w": "int8", "s": "float", "b": "int32"}[name[0]]]
    ) + ") =>", 1)  # fmt: skip
    model = onnx.parser.parse_model(text)
    kept = [value for value in model.graph.input if value.name in feeds]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(x, k) for k, x in held.items())
    graph = Graph.from_onnx(model)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    _, program = compile_program(graph, target)
    if runs(target):
        results = build_artifact([program], target, [], Provenance()).run(feeds)
        for name, array in expected.items():
            # A product and a sum may be rounded once.
            apart = np.abs(results[name].astype(int) - array.astype(int))
            assert apart.max() <= 1 and np.count_nonzero(apart) < array.size // 1000 + 2, name


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any window that fits its input."""
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 6)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    before = [draw(st.integers(0, r)) for r in reach]
    after = [draw(st.integers(0, r)) for r in reach]
    spatial = [
        draw(st.integers(max(1, r - b - a), 12 if rank < 3 else 5 + r))
        for r, b, a in zip(reach, before, after, strict=True)
    ]
    return case(
        draw(st.integers(2, 140)), spatial, kernel, x=draw(st.sampled_from(["uint8", "int8"])),
        zero=draw(st.sampled_from([None, 0, 3, 127])), dilations=dilations,
        strides=[draw(st.integers(1, 3)) for _ in range(rank)], pads=[*before, *after],
    )  # fmt: skip


@settings(max_examples=few(2), deadline=None)
@given(st.lists(cases(), min_size=3, max_size=3))
def test_any_window_is_exact(drawn_cases: list[Case]) -> None:
    check(drawn_cases, HOST.for_integers())
