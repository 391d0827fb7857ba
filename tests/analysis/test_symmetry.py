"""Every row of the table of symmetries: what a channel axis allows, and that more is wrong.

For each row there is a small model with a channel group. A random transform of the class that the
analysis finds is applied to what writes the channels and undone in what reads them: outputs stay
the same in double precision. A transform of a larger class changes them.
"""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from burnish.analysis.axis_graph import ChannelGroup, Part, channel_groups
from burnish.analysis.axis_graph_edits import _mixed, edit, permute, transform
from burnish.analysis.axis_graph_sites import Variance
from burnish.analysis.symmetry import LARGER, Transform, meet
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.rewrite import Rewriter
from burnish.testing import HEADER

N = 6
"""Channels of every group: two heads of three, three pairs."""
LAW = settings(max_examples=8, deadline=None, derandomize=True)

T = Transform
ROWS = "g (double[2, 5, 4] x) => (double[2, 5, 3] y)"
IMAGE = "g (double[1, 2, 6, 6] x) => (double y)"
WRITE, READ = {"w": (4, N)}, {"v": (N, 3)}
CONVS = {"w": (N, 2, 3, 3), "b": (N,), "v": (3, N, 1, 1)}


def between(line: str, **more: tuple[int, ...]) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Rows: a product writes ``h``, ``line`` makes ``r`` of it, a product reads that."""
    return f"{ROWS} {{ h = MatMul(x, w)  {line}  y = MatMul(r, v) }}", {**WRITE, **READ, **more}


def image(line: str, **more: tuple[int, ...]) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Images: a convolution writes ``h``, ``line`` makes ``r`` of it, a convolution reads that."""
    return f"{IMAGE} {{ h = Conv(x, w, b)  {line}  y = Conv(r, v) }}", {**CONVS, **more}


def heads(scores: str, queries: int = 2, keys: int = 2) -> str:
    """Attention spelled out, with ``scores`` made of ``tq`` and ``tk``, heads in front."""
    return f"""{ROWS} {{
        q = MatMul(x, wq)  k = MatMul(x, wk)  u = MatMul(x, wv)
        sq = Constant<value = int64[4] {{2, 5, {queries}, 3}}>()
        sk = Constant<value = int64[4] {{2, 5, {keys}, 3}}>()
        rq = Reshape(q, sq)  rk = Reshape(k, sk)  ru = Reshape(u, sk)
        tq = Transpose<perm = [0, 2, 1, 3]>(rq)  tk = Transpose<perm = [0, 2, 1, 3]>(rk)
        tu = Transpose<perm = [0, 2, 1, 3]>(ru)  {scores}
        p = Softmax(s)  a = MatMul(p, tu2)
        ta = Transpose<perm = [0, 2, 1, 3]>(a)
        all = Constant<value = int64[3] {{2, 5, {3 * queries}}}>()
        r = Reshape(ta, all)  y = MatMul(r, v) }}"""


PRODUCTS = {"wq": (4, N), "wk": (4, N), "wv": (4, N), "v": (N, 3)}
PLAIN = "kt = Transpose<perm = [0, 1, 3, 2]>(tk)  s = MatMul(tq, kt)  tu2 = Identity(tu)"
REPEAT = """ones = Constant<value = int64[1] {2}>()
    wide = Constant<value = int64[5] {2, 2, 2, 5, 3}>()
    flat = Constant<value = int64[4] {2, 4, 5, 3}>()
    k5 = Unsqueeze(tk, ones)  ke = Expand(k5, wide)  kr = Reshape(ke, flat)
    u5 = Unsqueeze(tu, ones)  ue = Expand(u5, wide)  tu2 = Reshape(ue, flat)
    kt = Transpose<perm = [0, 1, 3, 2]>(kr)  s = MatMul(tq, kt)"""
GROUPED = {"wq": (4, 12), "wk": (4, N), "wv": (4, N), "v": (12, 3)}

# Row -> (model and shapes of its weights, class, larger class that is wrong, writer of the group).
ROW: dict[str, tuple[tuple[str, dict[str, tuple[int, ...]]], Transform, Transform | None, str]] = {
    "contraction": (between("r = Identity(h)"), T.AFFINE, None, "w"),
    "add": (between("r = Add(h, b)", b=(N,)), T.GENERAL, None, "w"),
    "residual": (between("g = MatMul(x, w2)  r = Add(h, g)", w2=(4, N)), T.GENERAL, None, "w"),
    "transpose": (
        between("t = Transpose<perm = [1, 0, 2]>(h)  r = Transpose<perm = [1, 0, 2]>(t)"),
        T.AFFINE, None, "w",
    ),
    "average-pool": (
        image("r = AveragePool<kernel_shape = [2, 2]>(h)"), T.AFFINE, None, "w",
    ),
    "resize": (
        image("roi = Constant<value = float[0] {}>()  k = Constant<value = float[4] {1, 1, 2, 2}>()"
              "  r = Resize<mode = \"linear\">(h, roi, k)"),
        T.AFFINE, None, "w",
    ),
    "zero-padded-convolution": (
        (f"{IMAGE} {{ h = Conv(x, w, b)  y = Conv<pads = [1, 1, 1, 1]>(h, v) }}",
         {**CONVS, "v": (3, N, 3, 3)}), T.GENERAL, None, "w",
    ),
    "depthwise": (
        image(f"r = Conv<group = {N}, pads = [1, 1, 1, 1]>(h, d, e)", d=(N, 1, 3, 3), e=(N,)),
        T.DIAGONAL, T.GENERAL, "w",
    ),
    "batch-norm": (
        image("r = BatchNormalization(h, ga, be, me, va)", ga=(N,), be=(N,), me=(N,), va=(N,)),
        T.DIAGONAL, T.GENERAL, "w",
    ),
    "relu": (between("r = Relu(h)"), T.POSITIVE, T.DIAGONAL, "w"),
    "leaky-relu": (between("r = LeakyRelu(h)"), T.POSITIVE, T.DIAGONAL, "w"),
    "prelu": (between("r = PRelu(h, slope)", slope=(N,)), T.POSITIVE, T.DIAGONAL, "w"),
    "max-pool": (image("r = MaxPool<kernel_shape = [2, 2]>(h)"), T.POSITIVE, T.DIAGONAL, "w"),
    "clip": (
        between("lo = Constant<value = double {0}>()  hi = Constant<value = double {6}>()"
                "  r = Clip(h, lo, hi)"), T.PERMUTATION, T.POSITIVE, "w",
    ),
    **{
        name: (between(f"r = {name}(h)"), T.PERMUTATION, T.POSITIVE, "w")
        for name in ("HardSwish", "Sigmoid", "Gelu", "Tanh", "Softplus")
    },
    "silu": (between("s = Sigmoid(h)  r = Mul(h, s)"), T.PERMUTATION, T.POSITIVE, "w"),
    "gated-value": (
        between("g = MatMul(x, wg)  s = Sigmoid(g)  r = Mul(s, h)", wg=(4, N)),
        T.DIAGONAL, T.GENERAL, "w",
    ),
    "gate": (
        between("g = MatMul(x, wg)  s = Sigmoid(g)  r = Mul(s, h)", wg=(4, N)),
        T.PERMUTATION, T.POSITIVE, "wg",
    ),
    "rms-norm-folded": (
        between("r = RMSNormalization(h, one)", one=(N,)), T.ORTHOGONAL, T.GENERAL, "w",
    ),
    "layer-norm-folded": (
        between("r = LayerNormalization(h, one)", one=(N,)), T.ROTATION, T.ORTHOGONAL, "w",
    ),
    "layer-norm": (
        between("r = LayerNormalization(h, ga, be)", ga=(N,), be=(N,)),
        T.PERMUTATION, T.ROTATION, "w",
    ),
    "rms-norm": (
        between("r = RMSNormalization(h, ga)", ga=(N,)), T.PERMUTATION, T.ORTHOGONAL, "w",
    ),
    "instance-norm": (
        image("r = InstanceNormalization<epsilon = 1e-20>(h, ga, be)", ga=(N,), be=(N,)),
        T.POSITIVE, T.DIAGONAL, "w",
    ),
    "group-norm": (
        image("r = GroupNormalization<num_groups = 2, epsilon = 1e-20, stash_type = 11>(h, ga, be)",
              ga=(N,), be=(N,)), T.PER_GROUP, T.POSITIVE, "w",
    ),
    "values-to-output": ((heads(PLAIN), PRODUCTS), T.GENERAL, None, "wv"),
    "queries-and-keys": ((heads(PLAIN), PRODUCTS), T.GENERAL, None, "wq"),
    "shared-keys": ((heads(REPEAT, 4), GROUPED), T.GENERAL, None, "wk"),
    "shared-values": ((heads(REPEAT, 4), GROUPED), T.GENERAL, None, "wv"),
    "turned-keys": (
        (heads("angle = Mul(tk, turn)  kt = Transpose<perm = [0, 1, 3, 2]>(angle)"
               "  s = MatMul(tq, kt)  tu2 = Identity(tu)"), {**PRODUCTS, "turn": (5, 3)}),
        T.IDENTITY, T.GENERAL, "wk",
    ),
    "normalized-keys": (
        (heads("nk = LayerNormalization(tk, ga)  kt = Transpose<perm = [0, 1, 3, 2]>(nk)"
               "  s = MatMul(tq, kt)  tu2 = Identity(tu)"), {**PRODUCTS, "ga": (3,)}),
        T.IDENTITY, T.GENERAL, "wk",
    ),
    "rotary-embedding": (
        # The operator is none of doubles, whose shapes are declared therefore.
        (f"{ROWS} <double[2, 5, 6] tq, double[2, 5, 6] tk> {{"
         " q = MatMul(x, wq)  k = MatMul(x, wk)  u = MatMul(x, wv)"
         "  tq = RotaryEmbedding<num_heads = 1>(q, cos, sin)"
         "  tk = RotaryEmbedding<num_heads = 1>(k, cos, sin)"
         "  kt = Transpose<perm = [0, 2, 1]>(tk)  s = MatMul(tq, kt)  p = Softmax(s)"
         "  r = MatMul(p, u)  y = MatMul(r, v) }",
         {**PRODUCTS, "cos": (2, 5, 3), "sin": (2, 5, 3)}), T.ROTARY, T.GENERAL, "wq",
    ),
    "graph-output": (
        (f"{ROWS.replace('=> (', '=> (double[2, 5, 6] h, ')} {{ h = MatMul(x, w)"
         "  y = MatMul(h, v) }", {**WRITE, **READ}), T.IDENTITY, T.PERMUTATION, "w",
    ),
    "control-flow": (
        (f"{ROWS} {{ h = MatMul(x, w)  flag = Constant<value = int64 {{1}}>()"
         "  t = Cast<to = 9>(flag)  r = If<then_branch = a () => (double[2, 5, 6] p)"
         " { p = Exp(h) }, else_branch = b () => (double[2, 5, 6] q) { q = Neg(h) }>(t)"
         "  y = MatMul(r, v) }", {**WRITE, **READ}), T.IDENTITY, T.PERMUTATION, "w",
    ),
    "unknown": (between("r = CumSum(h, axis)", axis=()), T.IDENTITY, T.PERMUTATION, "w"),
}  # fmt: skip


def weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    for name in made:
        if name == "one":
            made[name] = np.ones(shapes[name])
        if name in ("cos", "sin"):
            made[name] = getattr(np, name)(rng.normal(size=shapes["cos"]))
        if name == "va":
            made[name] = 0.5 + rng.random(shapes[name])
        if name == "axis":
            made[name] = np.array(2)
    return made


def build(text: str, constants: dict[str, np.ndarray]) -> Graph:
    model = onnx.parser.parse_model(HEADER.format(opset=23, domains="") + text)
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    graph = Graph.from_onnx(model)
    run_pass(graph, get_pass("fold-constants"), PassContext())
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    return graph


def evaluate(graph: Graph, seed: int) -> list[np.ndarray]:
    shape = graph.inputs[0].static_shape
    x = np.random.default_rng(seed + 1000).normal(size=shape)
    return list(ReferenceEvaluator(graph.to_onnx()).run(None, {graph.inputs[0].name: x}))


def group_of(graph: Graph, writer: str) -> tuple[ChannelGroup, Part]:
    """The group, and in it the part, that the weight called ``writer`` writes."""
    for group in channel_groups(graph):
        for member in group.writers:
            if (member.value.name == writer and member.axes != (0,)) or (
                member.value.name == writer and member.node.op_type == "Conv"
            ):
                return group, next(part for part in group.parts if member.site in part.signs)
    raise AssertionError(f"nothing is written by {writer}")


def draw(kind: Transform, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A transform of class ``kind`` that mixes channels of the same label only."""
    n = len(labels)
    matrix = np.zeros((n, n))
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        matrix[np.ix_(inside, inside)] = _block(kind, len(inside), rng)
    return matrix


def _block(kind: Transform, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind is T.ROTARY:
        real, imaginary = rng.normal(size=2)
        return np.array([[real, -imaginary], [imaginary, real]])
    shuffle = np.eye(n)[np.roll(np.arange(n), 1)]
    if kind in (T.AFFINE, T.GENERAL):
        return rng.normal(size=(n, n)) + 3 * np.eye(n)
    if kind is T.DIAGONAL:
        return (
            np.diag(rng.choice([-1.0, 1.0], n) * (0.5 + rng.random(n)) * _mixed_signs(n)) @ shuffle
        )
    if kind is T.POSITIVE:
        return np.diag(0.5 + rng.random(n)) @ shuffle
    if kind is T.PER_GROUP:
        return np.eye(n) * (0.5 + rng.random())
    if kind is T.ORTHOGONAL:
        return np.linalg.qr(rng.normal(size=(n, n)))[0]
    if kind is T.ROTATION:
        basis = np.linalg.qr(np.column_stack([np.ones(n), rng.normal(size=(n, n - 1))]))[0]
        inner = np.linalg.qr(rng.normal(size=(n - 1, n - 1)))[0]
        turned = np.eye(n)
        turned[1:, 1:] = inner
        return basis @ turned @ basis.T
    return shuffle if kind is T.PERMUTATION else np.eye(n)


def _mixed_signs(n: int) -> np.ndarray:
    """One sign at least is negative, whatever the others are."""
    return np.array([-1.0, *(1.0,) * (n - 1)])


def applied(graph: Graph, group: ChannelGroup, part: Part, matrix: np.ndarray) -> None:
    """``transform`` without its check, on the part alone."""
    inverse = np.linalg.inv(matrix).T

    def change(member, rows):
        if member.variance is Variance.INVARIANT:
            return rows
        forward = (member.variance is Variance.COVARIANT) == (part.signs[member.site] > 0)
        return _mixed(group.channels_of(member), rows, matrix if forward else inverse)

    inside = [member for member in group.members if member.site in part.signs]
    edit(Rewriter(graph), inside, change)


@pytest.mark.parametrize("row", ROW)
def test_the_class_that_is_found(row: str) -> None:
    (text, shapes), kind, _, writer = ROW[row]
    group, part = group_of(build(text, weights(shapes, 0)), writer)
    assert part.symmetry is kind
    assert group.size == N


@pytest.mark.parametrize("row", ROW)
def test_what_is_allowed_changes_nothing(row: str) -> None:
    (text, shapes), kind, _, writer = ROW[row]

    @LAW
    @given(st.integers(0, 1000))
    def law(seed: int) -> None:
        constants = weights(shapes, seed)
        graph = build(text, constants)
        wanted = evaluate(graph, seed)
        group, part = group_of(graph, writer)
        rng = np.random.default_rng(seed + 1)
        if kind is T.PERMUTATION:
            order = rng.permutation(N)
            permute(Rewriter(graph), group, [int(i) for i in order])
        elif kind is not T.IDENTITY:
            matrix = draw(kind, group.labels, rng)
            if kind in (T.DIAGONAL, T.POSITIVE):
                # Permutations move whole groups; what is left of the class are its scales.
                matrix = np.diag(matrix.sum(axis=1))
            transform(Rewriter(graph), group, part, matrix)
            assert any(m.value.name == "" for m in group.members), "nothing was written"
        for a, b in zip(wanted, evaluate(graph, seed), strict=True):
            assert np.abs(a - b).max() <= 1e-9 * max(np.abs(a).max(), 1)

    law()


@pytest.mark.parametrize("row", [row for row in ROW if ROW[row][2] is not None])
def test_the_next_larger_class_is_wrong(row: str) -> None:
    (text, shapes), kind, larger, writer = ROW[row]
    assert larger is not None
    graph = build(text, weights(shapes, 7))
    wanted = evaluate(graph, 7)
    group, part = group_of(graph, writer)
    matrix = draw(larger, group.labels, np.random.default_rng(8))
    if larger in (T.DIAGONAL, T.POSITIVE):
        matrix = np.diag(matrix.sum(axis=1))
    with pytest.raises(ValueError, match="allow"):
        transform(Rewriter(graph), group, part, matrix)
    applied(graph, group, part, matrix)
    found = evaluate(graph, 7)
    assert max(np.abs(a - b).max() for a, b in zip(wanted, found, strict=True)) > 1e-6
    assert kind < larger


@pytest.mark.parametrize("row", [row for row in ROW if ROW[row][1] is T.IDENTITY])
def test_what_is_fixed_refuses_to_move(row: str) -> None:
    (text, shapes), _, _, writer = ROW[row]
    graph = build(text, weights(shapes, 3))
    group, _ = group_of(graph, writer)
    with pytest.raises(ValueError, match="cannot be moved"):
        permute(Rewriter(graph), group, [1, 0, 2, 3, 4, 5])


SHIFTED = [row for row in ROW if ROW[row][1] is T.AFFINE]


@pytest.mark.parametrize("row", [*SHIFTED, "values-to-output"])
def test_shifts_arrive_as_they_are(row: str) -> None:
    """What is added to the channels adds the same to the results everywhere."""
    differences = shifted(row)
    assert np.abs(differences - differences[:, :1]).max() <= 1e-9


@pytest.mark.parametrize("row", ["zero-padded-convolution", "relu", "layer-norm"])
def test_shifts_do_not_get_past_padding(row: str) -> None:
    differences = shifted(row)
    assert np.abs(differences - differences[:, :1]).max() > 1e-3


def shifted(row: str) -> np.ndarray:
    """[channels, places]: how results change when a number is added to each written channel."""
    (text, shapes), _, _, writer = ROW[row]
    constants = weights(shapes, 5)
    wanted = evaluate(build(text, constants), 5)[0]
    before = "u = MatMul(x, wv)" if writer == "wv" else "h = MatMul(x, w)"
    after = "h0 = MatMul(x, w)  h = Add(h0, shift)"
    if writer == "wv":
        after = "u0 = MatMul(x, wv)  u = Add(u0, shift)"
    constants["shift"] = np.linspace(1, 2, N)
    if "b" in shapes and "Conv" in text:
        constants["b"] = constants["b"] + constants.pop("shift")
    found = evaluate(build(text.replace(before, after), constants), 5)[0]
    channel = 1 if "Conv" in text else -1
    return np.moveaxis(found - wanted, channel, 0).reshape(3, -1)


def test_the_order_of_classes() -> None:
    for kind in T:
        assert all(meet([kind, other]) is kind for other in LARGER[kind])
    assert meet([T.ORTHOGONAL, T.DIAGONAL]) is T.PERMUTATION
    assert meet([T.ROTARY, T.POSITIVE]) is T.IDENTITY
    assert meet([]) is T.AFFINE
