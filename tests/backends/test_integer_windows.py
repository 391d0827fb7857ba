"""Depthwise convolutions of bytes against sums in 64 bits: every element is to be equal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.backends.lowering.anchors import integer_windows
from burnish.target import Target
from tests.backends.test_integers import HOST, SIGNS, Case, check, drawn, forms

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
    # Signs make no difference to the form of sums.
    is_last = target == forms()[-1]
    cases = [*windows("int8"), *(windows("uint8") if is_last else [])]
    assert roles(check(cases, target), QUADS) == len(cases)


def test_plain_sums_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_windows, "X86", "elsewhere")
    cases = [*windows("int8")[:4], *windows("uint8")[4:]]
    assert roles(check(cases, HOST.for_integers()), WIDE) == len(cases)


@pytest.mark.parametrize("target", forms(), ids=lambda target: target.name)
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


@settings(max_examples=4, deadline=None)
@given(st.lists(cases(), min_size=3, max_size=3))
def test_any_window_is_exact(drawn_cases: list[Case]) -> None:
    check(drawn_cases, HOST.for_integers())
