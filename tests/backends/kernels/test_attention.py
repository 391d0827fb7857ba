"""Attention against float64, over layouts, masks, groups and sizes that do not divide."""

from dataclasses import dataclass, field

import ml_dtypes
import numpy
import pytest
from tvm import te

from burnish.backends.cpu.schedule import schedule_with_rule
from burnish.backends.kernels.attention import Layout, Sizes, Tile, attention
from burnish.target import BFLOAT16, Target
from tests.depth import mostly_slow


@dataclass
class Case:
    sizes: Sizes
    storage: str = "bhsd"
    mask: tuple[int, ...] | None = None
    causal: bool = False
    causal_offset: int = 0
    softcap: float = 0.0
    out_order: str = "bshd"
    hidden: tuple[int, ...] = field(default=())


CASES = {
    "fused projection": Case(Sizes(1, 3, 3, 197, 197, 64, 64), "fused"),
    "sentence": Case(Sizes(1, 12, 12, 16, 16, 32, 32), "fused", mask=(1, 1, 1, 16)),
    "two sentences": Case(Sizes(2, 2, 2, 64, 64, 32, 32), "fused", mask=(2, 1, 1, 64)),
    "full mask": Case(Sizes(2, 4, 4, 10, 17, 24, 24), "bshd", mask=(2, 4, 10, 17)),
    "row mask": Case(Sizes(1, 2, 2, 9, 20, 16, 16), mask=(1, 1, 9, 1)),
    "hidden keys": Case(Sizes(1, 2, 2, 8, 40, 16, 16), mask=(1, 1, 1, 40), hidden=(0, 5, 39)),
    "grouped heads": Case(Sizes(1, 8, 2, 12, 33, 16, 16), "bshd"),
    "one query": Case(Sizes(1, 4, 1, 1, 77, 64, 64), "bshd", mask=(1, 4, 1, 77)),
    "merged rows": Case(Sizes(2, 4, 2, 5, 5, 24, 24), "merged"),
    "transposed keys": Case(Sizes(1, 2, 2, 33, 33, 8, 8), "bhds"),
    "causal": Case(Sizes(1, 2, 2, 40, 40, 16, 16), causal=True),
    "causal with a past": Case(Sizes(1, 2, 2, 4, 20, 16, 16), causal=True, causal_offset=16),
    "bounded scores": Case(Sizes(1, 2, 2, 9, 20, 16, 16), mask=(1, 1, 9, 20), softcap=0.5),
    "one channel": Case(Sizes(1, 2, 2, 6, 6, 1, 1)),
    "other value width": Case(Sizes(1, 2, 2, 20, 18, 16, 24)),
    "blocks of keys": Case(Sizes(1, 2, 1, 15, 1100, 24, 40), "bshd", mask=(1, 1, 15, 1100)),
    "causal blocks": Case(Sizes(1, 1, 1, 30, 900, 16, 16), causal=True, causal_offset=600),
    "blocks of hidden keys": Case(
        Sizes(1, 1, 1, 6, 900, 16, 16), mask=(1, 1, 1, 900), hidden=tuple(range(880))
    ),
    "blind rows": Case(Sizes(1, 1, 1, 20, 9, 16, 16), mask=(1, 1, 20, 9)),
    "heads first out": Case(Sizes(1, 2, 2, 20, 18, 16, 16), out_order="bhsd"),
}

REPEATED = {"sentence", "two sentences", "other value width", "blocks of hidden keys"}
"""What others try as well: masks of the same kind, widths, blocks."""


def reference(q, k, v, mask, case: Case, weights=lambda powers: powers) -> numpy.ndarray:
    group = case.sizes.group
    k, v = numpy.repeat(k, group, 1), numpy.repeat(v, group, 1)
    scores = q.astype("float64") @ k.transpose(0, 1, 3, 2) * 0.3
    if case.softcap:
        scores = case.softcap * numpy.tanh(scores / case.softcap)
    if mask is not None:
        scores = scores + mask
    if case.causal:
        i = numpy.arange(case.sizes.queries)[:, None]
        j = numpy.arange(case.sizes.keys)[None]
        scores = numpy.where(j <= i + case.causal_offset, scores, -numpy.inf)
    powers = weights(numpy.exp(scores - scores.max(-1, keepdims=True)))
    out = powers / powers.sum(-1, keepdims=True) @ v
    return out if case.out_order == "bhsd" else out.transpose(0, 2, 1, 3)


def stored(case: Case, q, k, v):
    """Arrays and layouts of q, k and v; equal arrays are one operand."""
    s = case.sizes
    rows = [t.transpose(0, 2, 1, 3) for t in (q, k, v)]
    if case.storage == "fused":
        joined = numpy.concatenate([r.reshape(s.batch, s.queries, -1) for r in rows], 2)
        ends = [0, s.heads * s.channels, (s.heads + s.key_heads) * s.channels]
        return [joined] * 3, [Layout("bsc", offset) for offset in ends]
    if case.storage == "merged":
        return [r.reshape(-1, r.shape[2] * r.shape[3]) for r in rows], [Layout("rc")] * 3
    if case.storage == "bshd":
        return rows, [Layout("bshd")] * 3
    if case.storage == "bhds":
        layouts = [Layout("bhsd"), Layout("bhds"), Layout("bhsd")]
        return [q, k.transpose(0, 1, 3, 2), v], layouts
    return [q, k, v], [Layout()] * 3


def inputs(case: Case) -> list[numpy.ndarray | None]:
    """Queries, keys, values and mask."""
    s = case.sizes
    rng = numpy.random.default_rng(3)
    q = rng.standard_normal((s.batch, s.heads, s.queries, s.channels)).astype("float32")
    k = rng.standard_normal((s.batch, s.key_heads, s.keys, s.channels)).astype("float32")
    v = rng.standard_normal((s.batch, s.key_heads, s.keys, s.value_channels)).astype("float32")
    if case.mask is None:
        return [q, k, v, None]
    mask = rng.standard_normal(case.mask).astype("float32")
    mask[..., list(case.hidden)] = -numpy.inf
    return [q, k, v, mask]


def computed(case: Case, target: Target, run, q, k, v, mask, rounds=False) -> numpy.ndarray:
    arrays, layouts = stored(case, q, k, v)
    arrays = [numpy.ascontiguousarray(array) for array in arrays]
    operands = [
        te.placeholder(a.shape, str(a.dtype), name=n) for a, n in zip(arrays, "qkv", strict=True)
    ]
    if case.storage == "fused":
        operands, arrays = [operands[0]] * 3, arrays[:1]
    bias = None if mask is None else te.placeholder(mask.shape, name="mask")
    out = attention(
        *operands, bias, sizes=case.sizes, scale=0.3, target=target, softcap=case.softcap,
        causal=case.causal, causal_offset=case.causal_offset, layouts=layouts,
        out_order=case.out_order, rounds=rounds,
    )  # fmt: skip
    params = [*dict.fromkeys(operands), *([] if bias is None else [bias])]
    func = te.create_prim_func([*params, out])
    scheduled = schedule_with_rule(func, target)
    assert scheduled.rule == "opaque"
    return run(scheduled.func, [*arrays, *([] if mask is None else [mask])], target)


@pytest.mark.parametrize("name", mostly_slow(CASES, CASES.keys() - REPEATED))
def test_matches_float64(name: str, target: Target, run):
    case = CASES[name]
    arrays = inputs(case)
    result = computed(case, target, run, *arrays)
    numpy.testing.assert_allclose(result, reference(*arrays, case), rtol=1e-5, atol=1e-5)


def bits(array: numpy.ndarray) -> numpy.ndarray:
    return array.astype(ml_dtypes.bfloat16).view("uint16")


def widened(bits: numpy.ndarray) -> numpy.ndarray:
    return bits.view(ml_dtypes.bfloat16).astype("float64")


def nearest(array: numpy.ndarray) -> numpy.ndarray:
    return widened(bits(array))


PAIRED = {
    name: CASES[name] for name in (
        "fused projection", "full mask", "hidden keys", "grouped heads", "merged rows",
        "causal with a past", "bounded scores", "blocks of keys", "blind rows",
    )
} | {
    "one key": Case(Sizes(1, 2, 2, 3, 1, 16, 16)),
    "odd blocks of keys": Case(Sizes(1, 1, 1, 14, 703, 24, 9), causal=True, causal_offset=650),
    "odd value channels": Case(Sizes(1, 2, 2, 5, 33, 2, 17), mask=(1, 1, 5, 33)),
}  # fmt: skip
REPEATED_PAIRS = {"full mask", "merged rows", "blocks of keys"}


@pytest.mark.parametrize("name", mostly_slow(PAIRED, PAIRED.keys() - REPEATED - REPEATED_PAIRS))
def test_pairs_match_float64(name: str, target: Target, run):
    """Of rounded operands; what weights are rounded to is seen in most results."""
    if BFLOAT16 not in target.extensions:
        pytest.skip("needs a CPU with bfloat16")
    case = PAIRED[name]
    *arrays, mask = inputs(case)
    result = computed(case, target.using(BFLOAT16), run, *map(bits, arrays), mask)
    arrays = [nearest(array) for array in arrays]
    expected = reference(*arrays, mask, case, nearest)
    numpy.testing.assert_allclose(result, expected, atol=4e-3)
    unrounded = reference(*arrays, mask, case)
    # From block to block, weights are relative to other numbers.
    if 1 < case.sizes.keys < 500:
        assert abs(result - expected).mean() < abs(result - unrounded).mean() / 4


@pytest.mark.parametrize("in_pairs", [False, True])
def test_results_are_rounded_on_request(in_pairs: bool, target: Target, run):
    if in_pairs and BFLOAT16 not in target.extensions:
        pytest.skip("needs a CPU with bfloat16")
    case = CASES["other value width"]
    *arrays, mask = inputs(case)
    if in_pairs:
        target, arrays = target.using(BFLOAT16), [bits(array) for array in arrays]
    exact = computed(case, target, run, *arrays, mask)
    numpy.testing.assert_array_equal(computed(case, target, run, *arrays, mask, True), bits(exact))


def test_lowest_mask_keeps_hidden_rows_finite(target: Target, run):
    """A row whose every key carries the lowest float attends evenly, as in ONNX Runtime."""
    sizes = Sizes(1, 1, 1, 2, 16, 16, 16)
    shape = (1, 1, 16, 16)
    shapes = ((1, 1, 2, 16), shape, shape, (1, 1, 1, 16))
    q, k, v, mask = (te.placeholder(s, name=f"p{i}") for i, s in enumerate(shapes))
    out = attention(q, k, v, mask, sizes=sizes, scale=1.0, target=target)
    rng = numpy.random.default_rng(0)
    arrays = [rng.standard_normal([int(d) for d in t.shape]).astype("float32") for t in (q, k, v)]
    lowest = numpy.full((1, 1, 1, 16), numpy.finfo("float32").min, "float32")
    result = run(te.create_prim_func([q, k, v, mask, out]), [*arrays, lowest])
    expected = numpy.broadcast_to(arrays[2].mean(2, keepdims=True), (1, 1, 2, 16))
    numpy.testing.assert_allclose(result, expected.transpose(0, 2, 1, 3), atol=1e-6)


@pytest.mark.parametrize("queries", [1, 7, 16, 128, 197, 512])
def test_tiles_fit_the_registers(queries: int, target: Target):
    tile = Tile.choose(Sizes(1, 12, 12, queries, 128, 32, 32), target)
    assert tile.rows <= queries
    assert tile.rows * tile.vectors <= target.registers - 4
    assert tile.shares >= 1
