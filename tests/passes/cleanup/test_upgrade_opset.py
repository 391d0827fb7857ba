"""upgrade-opset: old forms become new ones with the same answer, or nothing changes."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import onnx
import pytest

from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.opset_rules import UPGRADES
from burnish.passes.cleanup.upgrade_opset import NEWEST_OPSET, UpgradeOpset
from burnish.pipeline import PassContext
from burnish.rewrite import RewriteResult
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext()


def upgrade(model: Graph, version: int = NEWEST_OPSET) -> RewriteResult:
    InferShapes().run(model, CONTEXT)
    return UpgradeOpset(version).run(model, CONTEXT)


CASES = [
    (7, "float[2,3] x", "float[2,3] y", "y = Clip<min=-0.5, max=0.5>(x)"),
    (7, "float[2,3] x", "float[2,3] y", "y = Clip<max=0.5>(x)"),
    (7, "float[2,3] x", "float[2,3] y", "y = Dropout<ratio=0.25>(x)"),
    (8, "float[2,3,4] x", "float[2,3,4] y", "y = Softmax(x)"),
    (11, "float[2,3,4] x", "float[2,3,4] y", "y = LogSoftmax<axis=0>(x)"),
    (11, "float[2,3,4] x", "float[2,3,4] y", "y = Hardmax<axis=-1>(x)"),
    (11, 'float["n",3,4] x', 'float["n",3,4] y', "y = Softmax<axis=1>(x)"),
    (9, "float[2,1,4] x", "float[2,4] y", "y = Squeeze<axes=[1]>(x)"),
    (9, "float[2,4] x", "float[1,2,1,4] y", "y = Unsqueeze<axes=[0,2]>(x)"),
    (11, "float[2,3,4] x", "float[2,1,4] y", "y = ReduceSum<axes=[1]>(x)"),
    (11, "float[2,3,4] x", "float[1,1,1] y", "y = ReduceSum(x)"),
    (13, "float[2,3,4] x", "float[2,4] y", "y = ReduceMean<axes=[-2], keepdims=0>(x)"),
    (13, "float[2,3,4] x", "float[1,1,1] y", "y = ReduceL2(x)"),
    (9, "float[5,4] x", "float[2,4] y", "a, b = Split<axis=0, split=[2,3]>(x) y = Identity(a)"),
    (9, "float[4,4] x", "float[2,4] y", "a, y = Split(x)"),
    (13, "float[4,4] x", "float[2,4] y", "a, y = Split(x)"),
    (9, "float[2,3] x", "float[4,6] y", "y = Pad<pads=[1,2,1,1], value=0.5>(x)"),
    (9, "float[2,3] x", "float[4,6] y", 'y = Pad<pads=[1,2,1,1], mode="edge">(x)'),
    (9, "float[5,6] x", "float[3,2] y", "y = Slice<starts=[1,-4], ends=[4,-2], axes=[0,1]>(x)"),
    (9, "float[5,6] x", "float[2,6] y", "y = Slice<starts=[3], ends=[1000]>(x)"),
    (9, "float[2,6] x", "float[2,3] y", "y, i = TopK<k=3>(x)"),
    (7, "float[1,2,3,3] x", "float[1,2,6,6] y", "y = Upsample<scales=[1.0,1.0,2.0,2.0]>(x)"),
    (9, "float[1,2,3,3] x", "float[1,2,6,6] y",
     's = Constant<value=float[4] {1.0,1.0,2.0,2.0}>() y = Upsample<mode="linear">(x, s)'),
    (10, "float[1,2,3,3] x", "float[1,2,6,6] y",
     's = Constant<value=float[4] {1.0,1.0,2.0,2.0}>() y = Resize<mode="linear">(x, s)'),
    (10, "float[1,2,5,5] x", "float[1,2,2,2] y",
     "s = Constant<value=float[4] {1.0,1.0,0.5,0.5}>() y = Resize(x, s)"),
    (11, "float[1,2,3,3] x", "float[1,2,6,6] y",
     "r = Constant<value=float[0] {}>() s = Constant<value=float[4] {1.0,1.0,2.0,2.0}>() "
     'y = Resize<mode="cubic">(x, r, s)'),
    (16, "float[1,1,3,3] x, float[1,2,2,2] g", "float[1,1,2,2] y",
     'y = GridSample<mode="bicubic">(x, g)'),
    (9, "float[3,3] x, float[3,3] u", "float[3,3] y",
     "i = Constant<value=int64[3,3] {0,1,2,1,2,0,2,0,1}>() y = Scatter(x, i, u)"),
    (8, "float[1,2,3] x", "float[1,2,3] y",
     "s = Constant<value=float[2] {1.0,2.0}>() b = Constant<value=float[2] {0.5,0.25}>() "
     "m = Constant<value=float[2] {0.1,0.2}>() v = Constant<value=float[2] {1.5,0.5}>() "
     "y = BatchNormalization(x, s, b, m, v)"),
]  # fmt: skip


def case(opset: int, inputs: str, output: str, body: str) -> Graph:
    return graph(
        f'<ir_version: 7, opset_import: ["": {opset}]> g ({inputs}) => ({output}) {{ {body} }}'
    )


@pytest.mark.parametrize(("opset", "inputs", "output", "body"), CASES)
def test_same_answer(opset: int, inputs: str, output: str, body: str) -> None:
    before, after = (case(opset, inputs, output, body) for _ in range(2))
    assert upgrade(after).changed
    assert after.opset == NEWEST_OPSET
    assert_equivalent(before, after, Numerics.REASSOCIATES)
    onnx.checker.check_model(after.to_onnx(), full_check=True)
    assert not upgrade(after).changed


OLDEST = [
    ("y = Add<broadcast=1, axis=1>(x, c)", lambda x, c: x + c.reshape(1, 3, 1)),
    ("y = Mul<broadcast=1>(x, d)", lambda x, c: x * np.float32([1, 2])),
    ("y = PRelu(x, c)", lambda x, c: np.where(x < 0, x * c.reshape(1, 3, 1), x)),
    ("y = Relu<consumed_inputs=[0]>(x)", lambda x, c: np.maximum(x, 0)),
    ("y = Dropout<is_test=1>(x)", lambda x, c: x),
    ('y = Cast<to="FLOAT">(x)', lambda x, c: x),
]


@pytest.mark.parametrize(("body", "expected"), OLDEST)
def test_forms_older_than_the_oracle(body: str, expected: object) -> None:
    """ONNX Runtime starts at opset 7: the answer before is worked out here."""
    from burnish.oracle import Oracle

    opset = 1 if "consumed" in body or "Cast" in body else 6
    model = graph(f"""
    <ir_version: 4, opset_import: ["": {opset}]>
    g (float[2,3,2] x, float[3] c) => (float[2,3,2] y) <float[2] d = {{1.0, 2.0}}> {{ {body} }}
    """)
    assert upgrade(model).changed
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 3, 2)
    c = np.float32([0.5, 0.25, 2.0])
    found = Oracle(model, threads=1).run({"x": x, "c": c})["y"]
    np.testing.assert_array_equal(found, expected(x, c))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("opset", "inputs", "output", "body", "reason"),
    [
        (8, "float[2,3] x", "float[2,3] m", "y, m = Dropout(x)", "further outputs"),
        (11, "float[1,1,2,2] x", "float[1,1,4,4] y",
         "r = Constant<value=float[0] {}>() s = Constant<value=float[4] {1.0,1.0,2.0,2.0}>() "
         'y = Resize<coordinate_transformation_mode="tf_half_pixel_for_nn">(x, r, s)',
         "tf_half_pixel_for_nn"),
    ],
)  # fmt: skip
def test_one_refusal_keeps_the_whole_model(
    opset: int, inputs: str, output: str, body: str, reason: str
) -> None:
    model = case(opset, inputs, output, body)
    nodes = [node.op_type for node in model]
    result = upgrade(model)
    assert not result.changed
    assert model.opset == opset
    assert [node.op_type for node in model] == nodes
    assert f"kept opset {opset}" in result.notes[0]
    assert reason in result.notes[0]


def test_stops_where_the_oracle_has_kernels() -> None:
    model = case(14, "float[1,2,4,4] x", "float[1,2,1,1] y", "y = GlobalLpPool(x)")
    result = upgrade(model)
    assert model.opset == 21
    assert "no kernel for GlobalLpPool" in result.notes[0]


def test_asked_for_version() -> None:
    model = case(9, "float[2,1] x", "float[2] y", "y = Squeeze<axes=[1]>(x)")
    upgrade(model, 13)
    assert model.opset == 13


def test_never_goes_back() -> None:
    model = case(21, "float[2,1] x", "float[2,1] y", "y = Relu(x)")
    assert not upgrade(model, 17).changed
    assert model.opset == 21


@pytest.mark.parametrize("version", [0, 12, NEWEST_OPSET + 1])
def test_no_such_opset(version: int) -> None:
    with pytest.raises(UsageError, match=f"13 to {NEWEST_OPSET}"):
        upgrade(case(9, "float[1] x", "float[1] y", "y = Relu(x)"), version)


COMPATIBLE = {
    # (operator, version): why the change needs no rule of its own.
    ("Upsample", 7): "what version 10 asks for reads every older form",
    ("Upsample", 9): "what version 10 asks for reads every older form",
}


def test_every_change_of_form_has_a_rule() -> None:
    """Compare all versions in onnx's own registry; what changed its form is upgraded."""
    versions: dict[str, list[onnx.defs.OpSchema]] = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= NEWEST_OPSET:
            versions[schema.name].append(schema)
    missing = []
    for name, schemas in versions.items():
        schemas.sort(key=lambda schema: schema.since_version)
        for old, new in pairwise(schemas):
            known = {entry.version for entry in UPGRADES.get(name, ())}
            compatible = (name, new.since_version) in COMPATIBLE
            if _changes_form(old, new) and new.since_version not in known and not compatible:
                missing.append((name, new.since_version))
    assert not missing


def _changes_form(old: onnx.defs.OpSchema, new: onnx.defs.OpSchema) -> bool:
    """Whether nodes of the old form may mean something else, or nothing, in the new one."""
    if set(old.attributes) - set(new.attributes) or new.deprecated:
        return True
    for name in old.attributes:
        if old.attributes[name].default_value != new.attributes[name].default_value:
            return True
        if old.attributes[name].type != new.attributes[name].type:
            return True
    added = set(new.attributes) - set(old.attributes)
    if any(new.attributes[name].required for name in added):
        return True
    required = onnx.defs.OpSchema.FormalParameterOption.Single
    extra = new.inputs[len(old.inputs) :]
    return len(new.inputs) < len(old.inputs) or any(p.option == required for p in extra)
