"""Whatever is handed in, a bad model ends in one clear message, never in a traceback or a hang."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from burnish.errors import BurnishError, InvalidInput, UnsupportedModel
from burnish.ir import Graph
from tests.depth import part

HEADER = '<ir_version: 10, opset_import: ["": 21]>\n'


def model(text: str) -> ModelProto:
    return parser.parse_model(HEADER + text)


def simple() -> ModelProto:
    result = model("g (float[2] x) => (float[2] y) { y = Add(x, w) }")
    result.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    return result


def weight(**fields: object) -> ModelProto:
    """The simple model with fields of its weight changed."""
    result = simple()
    for key, value in fields.items():
        if key == "dims":
            result.graph.initializer[0].dims[:] = value
        else:
            setattr(result.graph.initializer[0], key, value)
    return result


def external(path: Path, **entries: str) -> Path:
    """A model file whose weight lies in another file, as ``entries`` say."""
    result = simple()
    tensor = result.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(result.SerializeToString())
    return path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        Graph.from_onnx(tmp_path / "nothing.onnx")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is a folder"):
        Graph.from_onnx(tmp_path)


def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(InvalidInput, match="not a regular file"):
        Graph.from_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["a\0b.onnx", "x" * 5000], ids=["nul", "long"])
def test_impossible_path(name: str) -> None:
    with pytest.raises(InvalidInput):
        Graph.from_onnx(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(simple().SerializeToString())
    path.chmod(0)
    with pytest.raises(InvalidInput, match="cannot read"):
        Graph.from_onnx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<html>not a model</html>", "not an ONNX model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX model"),
        (bytes(64), "not an ONNX model"),
        (simple().SerializeToString()[:-7], "truncated"),
    ],
    ids=["empty", "html", "png", "zeros", "truncated"],
)
def test_not_a_model(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        Graph.from_onnx(path)


def test_wrong_kind_of_argument() -> None:
    with pytest.raises(TypeError, match="expected a path"):
        Graph.from_onnx(42)  # type: ignore[arg-type]


def test_newer_ir_version() -> None:
    new = simple()
    new.ir_version = onnx.IR_VERSION + 1
    with pytest.raises(UnsupportedModel, match=r"IR version .* upgrade"):
        Graph.from_onnx(new)


def test_newer_opset() -> None:
    new = simple()
    new.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    with pytest.raises(UnsupportedModel, match=r"opset .* upgrade"):
        Graph.from_onnx(new)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) { y = Relu(a)  a = Relu(y) }",
        "g (float[2] x) => (float[2] y) { y = Relu(nowhere) }",
        "g (float[2] x) => (float[2] z) { y = Relu(x) }",
        "g (float[2] x) => (float[2] y) { y = Relu(x)  y = Abs(x) }",
        "g (float[2] x) => (float[2] y) { y = NoSuchOperator(x) }",
        "g (float[2] x) => (float[2] y) { y = Relu(x, x, x) }",
        "g (float[2] x) => (float[2] y) { y = Relu <axis = 1> (x) }",
        "g (float[2] x) => (float[2] y) { y = Cast(x) }",
    ],
    ids=["cycle", "undefined-input", "undefined-output", "defined-twice", "unknown-operator",
         "too-many-inputs", "unknown-attribute", "missing-attribute"],
)  # fmt: skip
def test_breaks_the_standard(text: str) -> None:
    with pytest.raises(InvalidInput, match="breaks the ONNX standard"):
        Graph.from_onnx(model(text))


def test_unknown_domain_is_fine() -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "acme": 3]>
    g (float[2] x) => (float[2] y) { y = acme.Frobnicate <level = 3> (x) }"""
    graph = Graph.from_onnx(parser.parse_model(text))
    assert graph.first is not None
    assert graph.first.is_op("Frobnicate", domain="acme")
    assert graph.opsets == {"": 21, "acme": 3}
    assert graph.to_onnx().graph.node[0].domain == "acme"


def test_duplicate_node_names_are_fine() -> None:
    twice = model("g (float[2] x) => (float[2] y) { a = Relu(x)  y = Abs(a) }")
    for node in twice.graph.node:
        node.name = "same"
    graph = Graph.from_onnx(twice)
    assert [node.provenance for node in graph] == [("same",), ("same",)]
    assert len({node.name for node in graph.to_onnx().graph.node}) == 2


def test_training_info_is_refused_by_name() -> None:
    trained = simple()
    trained.training_info.add()
    with pytest.raises(UnsupportedModel, match="training_info"):
        Graph.from_onnx(trained)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dims": [3]}, "needs 12 bytes but has 8"),
        ({"dims": [-1]}, "impossible shape"),
        ({"dims": [1 << 40, 1 << 40]}, "impossible shape"),
        ({"dims": [0, 1 << 62]}, "impossible shape"),
        ({"dims": [1 << 45]}, "needs"),
        ({"data_type": 77}, "element type 77"),
        ({"data_type": 0}, "element type 0"),
        ({"data_type": TensorProto.STRING}, "strings as raw"),
    ],
)
def test_tensor_that_lies_about_itself(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Graph.from_onnx(weight(**fields))


def test_tensor_in_an_attribute_is_checked_too() -> None:
    bad = model("g (float[2] x) => (float[2] y) { w = Constant <value = float[2] {1, 2}> ()  "
                "y = Add(x, w) }")  # fmt: skip
    bad.graph.node[0].attribute[0].t.dims[:] = [7]
    with pytest.raises(InvalidInput, match="needs 7 elements but has 2"):
        Graph.from_onnx(bad)


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../secret.bin", "sub/../../secret.bin", "", ".", "sub/..", "..\\secret.bin",
     "link.bin", "folder/secret.bin"],
)  # fmt: skip
def test_external_data_stays_inside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "link.bin").symlink_to(tmp_path / "secret.bin")
    (home / "folder").symlink_to(tmp_path)
    path = external(home / "m.onnx", location=location)
    with pytest.raises(InvalidInput, match="not a path inside"):
        Graph.from_onnx(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "gone.bin"}, "missing"),
        ({"location": "folder"}, "not a file"),
        ({"location": "w.bin", "offset": "1"}, "truncated"),
        ({"location": "w.bin", "offset": "18446744073709551615"}, "not a size"),
        ({"location": "w.bin", "offset": "9223372036854775807"}, "truncated"),
        ({"location": "w.bin", "offset": "-8"}, "not a size"),
        ({"location": "w.bin", "length": "1e3"}, "not a size"),
        ({"location": "w.bin", "length": "4"}, "needs 8 bytes but declares 4"),
        ({"location": "w.bin", "length": "99999999999"}, "needs 8 bytes"),
    ],
)
def test_external_data_that_does_not_fit(
    tmp_path: Path, entries: dict[str, str], message: str
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match=message):
        Graph.from_onnx(external(tmp_path / "m.onnx", **entries))


def test_external_data_of_a_model_in_memory(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx", location="w.bin")
    with pytest.raises(InvalidInput, match="pass the path"):
        Graph.from_onnx(path.read_bytes())


def test_external_data_that_shrinks_after_loading(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    graph = Graph.from_onnx(external(tmp_path / "m.onnx", location="w.bin"))
    (tmp_path / "w.bin").write_bytes(bytes(4))
    with pytest.raises(InvalidInput, match="changed after loading"):
        graph.to_onnx()


def functions(*bodies: tuple[str, Callable[[], list[onnx.NodeProto]]]) -> ModelProto:
    result = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21, "f": 1]>\n'
        "g (float[2] x) => (float[2] y) { y = f.f0(x) }"
    )
    for name, make in bodies:
        result.functions.append(
            helper.make_function("f", name, ["a"], ["b"], make(), result.opset_import)
        )
    return result


def call(name: str, source: str, target: str) -> onnx.NodeProto:
    return helper.make_node(name, [source], [target], domain="f")


def test_functions_that_call_each_other() -> None:
    circle = functions(
        ("f0", lambda: [call("f1", "a", "b")]), ("f1", lambda: [call("f0", "a", "b")])
    )
    with pytest.raises(InvalidInput, match=r"calls itself|breaks"):
        Graph.from_onnx(circle)


def test_functions_that_double_at_every_level() -> None:
    levels = 40
    bomb = functions(
        *(
            (f"f{i}", lambda i=i: [call(f"f{i + 1}", "a", "c"), call(f"f{i + 1}", "c", "b")])
            for i in range(levels)
        ),
        (f"f{levels}", lambda: [helper.make_node("Relu", ["a"], ["b"])]),
    )
    with pytest.raises(InvalidInput, match=r"inlining .* refused"):
        Graph.from_onnx(bomb)


def test_functions_nested_too_deep() -> None:
    deep = functions(
        *((f"f{i}", lambda i=i: [call(f"f{i + 1}", "a", "b")]) for i in range(200)),
        ("f200", lambda: [helper.make_node("Relu", ["a"], ["b"])]),
    )
    with pytest.raises(InvalidInput, match="levels deep"):
        Graph.from_onnx(deep)


def rich() -> bytes:
    """A model with bodies, functions, sparse and text tensors, annotations, sequences."""
    result = parser.parse_model("""<ir_version: 10, opset_import: ["": 21, "f": 1]>
    g (bool c, float["N", 2] x, int64 n) => (float[2] y, seq(float) s) {
      w = Constant <value = float[2] {1, 2}> ()
      k = Constant <value_float = 2.0> ()
      t = f.twice <scale = 3.0> (x)
      y = If (c) <then_branch = a () => (float[2] p) { p = Add(x, w) },
                  else_branch = b () => (float[2] q) { q = f.twice(t) }>
      z = Loop (n, c, x) <body = d (int64 i, bool e, float[2] v) => (bool h, float[2] u) {
        h = Identity(e)  u = Add(v, y) }>
      s = SequenceConstruct(z)
    }
    <domain: "f", opset_import: ["": 21]>
    twice <scale: float = 2.0> (a) => (b) {
      k = Constant <value_float: float = @scale> ()  b = Mul(a, k) }""")
    graph = result.graph
    graph.initializer.append(numpy_helper.from_array(np.array(["a", "b"], object), "text"))
    values = numpy_helper.from_array(np.array([5, 6], np.float32), "sparse")
    places = numpy_helper.from_array(np.array([1, 4], np.int64))
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2, 3]))
    annotation = graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="text")
    return bytes(result.SerializeToString())


RICH = rich()


@settings(max_examples=part(400), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_bytes_never_crash(data: st.DataObject) -> None:
    content = bytearray(RICH)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        Graph.from_onnx(bytes(content)).to_onnx()
    except BurnishError as error:
        assert str(error)  # noqa: PT017 - any outcome is fine but a crash


def test_the_undamaged_model_loads() -> None:
    assert len(Graph.from_onnx(RICH)) == 4


def test_text_that_is_no_text() -> None:
    with pytest.raises(InvalidInput, match="not UTF-8"):
        Graph.from_onnx(RICH.replace(b"SequenceConstruct", b"Sequence\xff\xfe\xfdstruct"))


@pytest.mark.parametrize("version", [0, -1, 1 << 40])
def test_versions_that_cannot_be(version: int) -> None:
    bad = simple()
    bad.opset_import.append(helper.make_opsetid("acme", version))
    with pytest.raises(InvalidInput, match="which cannot be"):
        Graph.from_onnx(bad)


def test_function_called_with_too_many_inputs() -> None:
    bad = functions(("f0", lambda: [helper.make_node("Relu", ["a"], ["b"])]))
    bad.graph.node[0].input.append("x")
    with pytest.raises(InvalidInput, match="cannot be inlined"):
        Graph.from_onnx(bad)


def test_constant_of_no_kind() -> None:
    bad = model("g () => (float y) { y = Constant <value_float = 1.0> () }")
    bad.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("value_float", "text"))
    with pytest.raises(InvalidInput, match="value_float"):
        Graph.from_onnx(bad)
