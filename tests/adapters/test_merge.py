"""``burnish adapters merge``: LoRA files into models, under whatever names exporters left."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from burnish.adapters import merge as merging
from burnish.adapters.sites import SCOPES, score
from burnish.adapters.weights import read_tensors, scaling
from burnish.cli import main
from burnish.errors import InvalidInput

rng = np.random.default_rng(0)
Array = np.ndarray[Any, Any]


def f(*shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


TABLE, QUERY, OUT, PATCH, HEAD = f(11, 8), f(8, 8), f(6, 8), f(4, 1, 3, 3), f(8, 8)
BIASES = {"out": f(6), "patch": f(4)}


def model() -> onnx.ModelProto:
    """An embedding, then layers as exporters leave them.

    ``query`` lost its parameter's name but has that of its scope, ``out`` kept it, ``patch`` is a
    convolution, ``key`` is known by the metadata of its node and reads its weight transposed.
    """
    nodes = [
        helper.make_node("Gather", ["net.table.weight", "ids"], ["x"], name="/net/table/Gather"),
        helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["q"],
                         name="/net/layer.0/query/MatMul"),
        helper.make_node("Transpose", ["val_3"], ["t"], name="n1"),
        helper.make_node("MatMul", ["q", "t"], ["k"], name="node_linear"),
        helper.make_node("Gemm", ["k", "net.out.weight", "net.out.bias"], ["o"], name="g",
                         transB=1),
        helper.make_node("Reshape", ["k", "shape"], ["r"], name="r"),
        helper.make_node("Conv", ["r", "net.patch.weight", "net.patch.bias"], ["c"], name="c",
                         pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    nodes[3].metadata_props.add(key=SCOPES, value="['', 'net', 'net.layer.0.key', 'linear']")
    weights = {
        "net.table.weight": TABLE, "onnx::MatMul_7": QUERY.T, "val_3": HEAD,
        "net.out.weight": OUT, "net.out.bias": BIASES["out"], "net.patch.weight": PATCH,
        "net.patch.bias": BIASES["patch"], "shape": np.int64([-1, 1, 2, 4]),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("ids", TensorProto.INT64, [5])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, [5, 6]),
         helper.make_tensor_value_info("c", TensorProto.FLOAT, [5, 4, 2, 4])],
        [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.onnx"
    onnx.save(model(), path)
    return path


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write weights and their configuration as PEFT does."""

    def write(
        tensors: Mapping[str, Array], name: str = "adapter", config: Any = None, **options: Any
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        keys = {f"base_model.model.{key}": np.ascontiguousarray(a) for key, a in tensors.items()}
        save_file(keys, folder / "adapter_model.safetensors")
        if config is None:
            config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, **options}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder / "adapter_model.safetensors"

    return write


def lora(module: str, inputs: int, outputs: int, rank: int = 2) -> dict[str, Array]:
    return {
        f"{module}.lora_A.weight": f(rank, inputs), f"{module}.lora_B.weight": f(outputs, rank),
    }  # fmt: skip


def product(tensors: Mapping[str, Array], module: str) -> Array:
    a, b = tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"]
    return b.astype(np.float64) @ a


def held(path: Path, name: str) -> Array:
    graph = onnx.load(path).graph
    return next(numpy_helper.to_array(t) for t in graph.initializer if t.name == name)


def merge(base: Path, *arguments: object) -> tuple[int, Path]:
    out = base.with_name("out.onnx")
    return main(["adapters", "merge", str(base), *map(str, arguments), "-o", str(out)]), out


def outputs(path: Path) -> list[Array]:
    session = onnxruntime.InferenceSession(str(path))
    found: list[Array] = session.run(None, {"ids": np.int64([1, 0, 10, 3, 3])})
    return found


def test_by_scope_parameter_and_metadata(base: Path, save: Save, capsys: Any) -> None:
    modules = {"layer.0.query": (8, 8), "layer.0.key": (8, 8), "out": (8, 6)}
    tensors: dict[str, Array] = {}
    for module, sizes in modules.items():
        tensors |= lora(module, *sizes)
    code, out = merge(base, save(tensors), "--json")
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert {one["module"]: one["how"] for one in report["merged"]} == {
        "layer.0.key": "metadata", "layer.0.query": "node", "out": "parameter",
    }  # fmt: skip
    assert report["error"] < 1e-5
    query, key = (held(out, name) for name in ("onnx::MatMul_7", "val_3"))
    np.testing.assert_allclose(query.T, QUERY + 2 * product(tensors, "layer.0.query"), rtol=1e-5)
    np.testing.assert_allclose(key.T, HEAD + 2 * product(tensors, "layer.0.key"), rtol=1e-5)
    np.testing.assert_allclose(held(out, "net.out.weight"), OUT + 2 * product(tensors, "out"),
                               rtol=1e-5, atol=1e-6)  # fmt: skip
    assert [node.op_type for node in onnx.load(out).graph.node].count("Add") == 0


def test_embedding(base: Path, save: Save) -> None:
    a, b = f(2, 11), f(8, 2)
    code, out = merge(base, save({"table.lora_embedding_A": a, "table.lora_embedding_B": b}))
    assert code == 0
    wanted = TABLE + 2 * (b.astype(np.float64) @ a).T
    np.testing.assert_allclose(held(out, "net.table.weight"), wanted, rtol=1e-5, atol=1e-6)


def test_convolution(base: Path, save: Save) -> None:
    a, b = f(2, 1, 3, 3), f(4, 2, 1, 1)
    code, out = merge(base, save({"patch.lora_A.weight": a, "patch.lora_B.weight": b}))
    assert code == 0
    wanted = PATCH + 2 * np.einsum("or,rikl->oikl", b[:, :, 0, 0].astype(np.float64), a)
    np.testing.assert_allclose(held(out, "net.patch.weight"), wanted, rtol=1e-5, atol=1e-6)


def command(base: Path, given: Path, out: Path) -> list[str]:
    return ["adapters", "merge", str(base), str(given), "-o", str(out), "-v"]


@pytest.mark.parametrize("module", ["out", "layer.0.query"])
def test_magnitudes(base: Path, save: Save, module: str) -> None:
    weight, outputs_ = (OUT, 6) if module == "out" else (QUERY, 8)
    tensors = lora(module, 8, outputs_)
    lengths = np.abs(f(outputs_)) + 0.5
    given = save({**tensors, f"{module}.lora_magnitude_vector.weight": lengths})
    out = base.with_name("out.onnx")
    # As users run it, in a process of its own.
    call = f"from burnish.cli import main; raise SystemExit(main({command(base, given, out)}))"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    merged = weight + 2 * product(tensors, module)
    wanted = merged * (lengths / np.linalg.norm(merged, axis=1))[:, None]
    found = held(out, "net.out.weight") if module == "out" else held(out, "onnx::MatMul_7").T
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_bias_of_the_branch(base: Path, save: Save) -> None:
    tensors = {**lora("out", 8, 6), "out.lora_B.bias": np.float32([1, 2, 3, 4, 5, 6])}
    code, out = merge(base, save(tensors))
    assert code == 0
    del tensors["out.lora_B.bias"]
    code, plain = main_to(base, save(tensors, "plain"), "plain.onnx")
    assert code == 0
    np.testing.assert_allclose(
        outputs(out)[0] - outputs(plain)[0], np.tile([2, 4, 6, 8, 10, 12], (5, 1)), atol=1e-3
    )


def main_to(base: Path, weights: Path, name: str) -> tuple[int, Path]:
    out = base.with_name(name)
    return main(["adapters", "merge", str(base), str(weights), "-o", str(out)]), out


def test_parameters_trained_whole(base: Path, save: Save) -> None:
    bias, weight = f(6), f(6, 8)
    code, out = merge(base, save({"out.weight": weight, "out.modules_to_save.default.bias": bias}))
    assert code == 0
    np.testing.assert_array_equal(held(out, "net.out.weight"), weight)
    np.testing.assert_array_equal(held(out, "net.out.bias"), bias)


def test_several_files_with_scales(base: Path, save: Save) -> None:
    first, second = lora("out", 8, 6), lora("out", 8, 6)
    files = save(first, "one"), save(second, "two")
    code, out = merge(base, *files, "--scale", "0.5", "--scale", "-1")
    assert code == 0
    wanted = OUT + product(first, "out") - 2 * product(second, "out")
    np.testing.assert_allclose(held(out, "net.out.weight"), wanted, rtol=1e-4, atol=1e-5)


def test_a_weight_that_others_read_stays_theirs(base: Path, save: Save) -> None:
    proto = onnx.load(base)
    node = helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["other"], name="/net/tied/MatMul")
    proto.graph.node.append(node)
    proto.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [5, 8]))
    onnx.save(proto, base)
    code, out = merge(base, save(lora("layer.0.query", 8, 8)))
    assert code == 0
    np.testing.assert_array_equal(outputs(out)[2], outputs(base)[2])
    assert not np.allclose(outputs(out)[0], outputs(base)[0])


def test_the_table_fits_a_terminal(base: Path, save: Save, capsys: Any) -> None:
    assert merge(base, save(lora("layer.0.query", 8, 8)))[0] == 0
    printed = capsys.readouterr().out
    assert "layer.0.query" in printed
    assert "…" not in printed
    assert "merged 1 adapter, found by " in printed
    assert "verified against base and adapters apart" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80


# What goes wrong.


def refused(capsys: Any, result: tuple[int, Path], code: int) -> str:
    assert result[0] == code
    assert not result[1].exists()
    lines: list[str] = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_unknown_modules(base: Path, save: Save, capsys: Any) -> None:
    weights = save({**lora("layer.0.qeury", 8, 8), **lora("out", 8, 6)})
    message = refused(capsys, merge(base, weights), 1)
    assert "layer.0.qeury" in message
    assert "net.layer.0.query" in message
    assert "--allow-unmatched" in message
    code, out = merge(base, weights, "--allow-unmatched", "--json")
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["unmatched"]) == ["layer.0.qeury"]
    assert [one["module"] for one in report["merged"]] == ["out"]
    assert out.exists()


def test_weights_of_another_size(base: Path, save: Save, capsys: Any) -> None:
    message = refused(capsys, merge(base, save(lora("out", 9, 6))), 1)
    assert "[6, 9]" in message
    assert "[6, 8]" in message


def test_a_merge_that_does_not_do_what_the_formula_says(
    base: Path, save: Save, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = merging.merged_weight
    # The weight is square: turned around it would go unnoticed otherwise.
    monkeypatch.setattr(merging, "merged_weight", lambda a, w, s: real(a, w.T, s).T)
    assert "largest error" in refused(capsys, merge(base, save(lora("layer.0.query", 8, 8))), 3)


def header(text: bytes, body: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + body


HOSTILE = {
    "empty": b"",
    "truncated": header(b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}', b"\0\0"),
    "a header that is longer than the file": (1 << 60).to_bytes(8, "little") + b"{}",
    "no JSON": header(b"{" * 100),
    "deep JSON": header(b"[" * 100_000),
    "offsets that overlap": header(
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
        b'"b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}', b"\0" * 6,
    ),
    "sizes that overflow": header(
        b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}',
        b"\0" * 4,
    ),
    "an unknown type": header(
        b'{"a": {"dtype": "F77", "shape": [1], "data_offsets": [0, 4]}}', b"\0" * 4
    ),
}  # fmt: skip


def test_the_folder_of_the_weights(base: Path, save: Save, capsys: Any) -> None:
    folder = save(lora("layer.0.query", 8, 8)).parent
    assert "give the .safetensors file in it" in refused(capsys, merge(base, folder), 4)


@pytest.mark.parametrize(("others", "hint"), [
    ({}, "as it was exported"), (lora("layer.0.query", 8, 8), "--allow-unmatched"),
])  # fmt: skip
def test_what_to_do_about_modules_that_the_model_lacks(
    base: Path, save: Save, capsys: Any, others: dict[str, Array], hint: str
) -> None:
    weights = save(lora("decoder.9.gate", 8, 8) | others)
    assert hint in refused(capsys, merge(base, weights), 1)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files(base: Path, tmp_path: Path, capsys: Any, kind: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(HOSTILE[kind])
    assert str(path) in refused(capsys, merge(base, path), 4)


def test_missing_files(base: Path, save: Save, tmp_path: Path, capsys: Any) -> None:
    refused(capsys, merge(base, tmp_path / "none.safetensors"), 4)
    weights = save(lora("out", 8, 6))
    weights.with_name("adapter_config.json").unlink()
    assert "lora_alpha" in refused(capsys, merge(base, weights), 4)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"out.lora_A.weight": f(2, 8)}, "has no lora_B"),
        ({"out.lora_A.weight": f(2, 8), "out.lora_B.weight": f(6, 3)}, "do not fit together"),
        (
            {"out.lora_A.weight": f(2, 8), "out.lora_B.weight": np.full((6, 2), np.inf)},
            "infinities",
        ),
        ({"out.lora_A.weight": np.ones((2, 8), np.int64)}, "adapters hold floats"),
        ({**lora("out", 8, 6), "out.lora_magnitude_vector": f(5)}, "6 outputs, not 5"),
        ({"out.lora_magnitude_vector": f(6)}, "no branch"),
        ({"strange": f(2)}, "no part of an adapter"),
    ],
)
def test_parts_that_make_no_adapter(
    base: Path, save: Save, capsys: Any, tensors: dict[str, Array], message: str
) -> None:
    assert message in refused(capsys, merge(base, save(tensors)), 4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "of type IA3"),
        ({"r": 2}, "lora_alpha is None"),
        ({"r": 3, "lora_alpha": 4}, "r is 3"),
        ({"r": 2, "lora_alpha": 4, "alpha_pattern": {"(": 1}}, "no regular expression"),
        ([1], "no JSON object"),
    ],
)
def test_configurations(base: Path, save: Save, capsys: Any, config: Any, message: str) -> None:
    assert message in refused(capsys, merge(base, save(lora("out", 8, 6), config=config)), 4)


def test_scales_that_do_not_fit(base: Path, save: Save, capsys: Any) -> None:
    weights = save(lora("out", 8, 6))
    assert "2 times for 1 files" in refused(
        capsys, merge(base, weights, "--scale", "1", "--scale", "2"), 2
    )
    assert "takes numbers" in refused(capsys, merge(base, weights, "--scale", "nan"), 2)


def test_scaling() -> None:
    config = {"r": 4, "lora_alpha": 8, "alpha_pattern": {"h.1.out": 2}, "rank_pattern": {"h.2": 16}}
    assert scaling("net.h.0.out", 4, config) == 2
    assert scaling("net.h.1.out", 4, config) == 0.5
    assert scaling("net.h.2", 16, config) == 0.5
    assert scaling("net.h.0", 4, {**config, "use_rslora": True}) == 8 / math.sqrt(4)
    with pytest.raises(InvalidInput):
        scaling("net.h.2", 4, config)


def test_scores() -> None:
    assert score("a.b", "a.b") > score("a.b", "net.a.b") > 0
    assert score("net.a.b", "a.b") > 0
    assert score("a.b", "xa.b") == score("a.b", "a.c") == 0


def test_half_precision_weights(tmp_path: Path) -> None:
    array = np.array([[1.5, -2.0], [0.25, 3.0]], ml_dtypes.bfloat16)
    path = tmp_path / "half.safetensors"
    text = b'{"m.lora_A.weight": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}'
    path.write_bytes(header(text, array.tobytes()))
    np.testing.assert_array_equal(read_tensors(path)["m.lora_A.weight"], array.astype(np.float64))
