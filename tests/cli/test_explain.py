"""What ``burnish explain`` says, and to whom."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from burnish import api
from tests.cli.conftest import Burnish

NEAR = """
    <ir_version: 10, opset_import: ["": 12]>
    near (float[2, 3] x) => (float[2, 3] y) {
        [centre] m = ReduceMean<axes = [-1]>(x)
        [shift] d = Sub(x, m)
        two = Constant<value = float {2}>()
        [square] p = Pow(d, two)
        [spread] v = ReduceMean<axes = [-1]>(p)
        tiny = Constant<value = float {0.00001}>()
        [guard] e = Add(v, tiny)
        [root] s = Sqrt(e)
        [scale] y = Div(d, s)
    }
"""


@pytest.fixture
def near(tmp_path: Path) -> Path:
    path = tmp_path / "near.onnx"
    onnx.save(onnx.parser.parse_model(NEAR), path)
    return path


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Five layers whose nodes have long names, each with something to remove and to fuse."""
    nodes, weights, last = [], [], "x"
    for number in range(5):
        scope = f"/a_transformer_of_some_kind/encoder/layers.{number}/feed_forward/intermediate"
        weights.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), f"w{number}"))
        nodes += [
            helper.make_node("Identity", [last], [f"i{number}"], name=f"{scope}/Identity"),
            helper.make_node("MatMul", [f"i{number}", f"w{number}"], [f"m{number}"],
                             name=f"{scope}/MatMul"),
            helper.make_node("Erf", [f"m{number}"], [f"e{number}"], name=f"{scope}/Erf"),
            helper.make_node("Mul", [f"m{number}", f"e{number}"], [f"o{number}"],
                             name=f"{scope}/Mul"),
        ]  # fmt: skip
        last = f"o{number}"
    graph = helper.make_graph(
        nodes, "layers", [helper.make_tensor_value_info("x", 1, [2, 4])],
        [helper.make_tensor_value_info(last, 1, [2, 4])], weights,
    )  # fmt: skip
    path = tmp_path / "layers.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]),
              path)  # fmt: skip
    return path


def test_what_fired(burnish: Burnish, model: Path) -> None:
    done = burnish("explain", model)
    assert done.code == 0
    assert done.out.startswith("operators 3 → 2\n")
    assert re.search(r"fired +no-op-identity: same\n", done.out)


def test_as_json(burnish: Burnish, model: Path) -> None:
    data = json.loads(burnish("explain", model, "--json").out)
    assert data["operators"] == {"before": 3, "after": 2}
    fired = {rule["rule"]: rule["nodes"] for entry in data["passes"] for rule in entry["fired"]}
    assert fired["no-op-identity"] == ["same"]
    assert {"pass", "edits", "operators_removed", "undone", "notes", "fired", "near_misses"} == set(
        data["passes"][0]
    )
    assert data["declined"] == []


def test_each_pass_is_told_of_once(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    done = burnish("explain", model, "--target", "cpu", "--json")
    explained = [entry["pass"] for entry in json.loads(done.out)["passes"]]
    assert len(explained) == len(set(explained))
    done = burnish("compile", model, "-o", tmp_path / "out", "--tune", "off", "--json")
    assert set(explained) == {entry["name"] for entry in json.loads(done.out)["passes"]}


def test_near_misses(burnish: Burnish, near: Path) -> None:
    done = burnish("explain", near)
    assert "needs opset 17, the model has 12" in done.out
    assert "at scale" in done.out


def test_near_misses_are_those_of_the_result(near: Path) -> None:
    mended = api.explain(near, opset=21)
    reasons = [miss.reason for section in mended.sections for miss in section.missed]
    assert not [reason for reason in reasons if "needs opset 17" in reason]


def test_text_fits_a_terminal(burnish: Burnish, layers: Path) -> None:
    for arguments in ((), ("--target", "cpu"), ("--rule", "no-op-identity")):
        done = burnish("explain", layers, *arguments)
        assert max(map(len, done.out.splitlines())) <= 80
    assert "no-op-identity 5 times" in done.out
    assert "and 2 more" in " ".join(done.out.split())
    assert "…" in done.out
    everything = " ".join(burnish("explain", layers, "-v").out.split())
    assert all(f"layers.{number}/feed_forward/intermediate/Identity" in everything
               for number in range(5))  # fmt: skip


def test_one_pass(burnish: Burnish, model: Path) -> None:
    done = burnish("explain", model, "--pass", "remove-no-ops")
    assert [line for line in done.out.splitlines() if line and line[0] != " "][1:] == [
        "remove-no-ops: 1 operator fewer"
    ]


def test_one_rule(burnish: Burnish, near: Path) -> None:
    done = burnish("explain", near, "--rule", "layer-norm")
    assert "needs opset 17" in done.out
    assert "did not  layer-norm" in done.out
    assert done.out.count("did not") == 1


def test_one_node(burnish: Burnish, near: Path, model: Path) -> None:
    done = burnish("explain", near, "--node", "scale")
    assert "needs opset 17" in done.out
    assert "scale is now part of Div" in done.out
    done = burnish("explain", model, "--node", "same")
    assert "fired    no-op-identity: same" in done.out
    assert "same is gone from the result" in done.out
    data = json.loads(burnish("explain", model, "--node", "gate", "--json").out)
    assert data["node"] == {"name": "gate", "became": ["Sigmoid"]}


def test_a_rule_concerns_every_node_that_it_would_replace(burnish: Burnish, near: Path) -> None:
    for node in ("centre", "shift", "root"):
        out = burnish("explain", near, "--node", node).out
        assert "did not  layer-norm: needs opset 17" in out
        assert "at scale" in out


def test_a_rule_that_is_nowhere_near(burnish: Burnish, model: Path) -> None:
    assert burnish("explain", model, "--rule", "layer-norm").out.endswith(
        "\n\nlayer-norm neither fired nor came close\n"
    )


@pytest.mark.parametrize(
    ("option", "name", "hint"),
    [
        ("--pass", "", "names no pass"),
        ("--pass", "remove-noops", "did you mean remove-no-ops"),
        ("--pass", "sink-views", "not among the passes of this run"),
        ("--rule", "no-op-identty", "did you mean no-op-identity"),
        ("--node", "gats", "did you mean gate"),
    ],
)
def test_names_that_do_not_exist(
    burnish: Burnish, model: Path, option: str, name: str, hint: str
) -> None:
    done = burnish("explain", model, option, name)
    assert done.code == 2
    assert hint in done.message


def test_what_a_target_declines(burnish: Burnish, tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
        g (float[2, 2] x) => (float y) { [here] y = Det(x) }"""
    path = tmp_path / "det.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    done = burnish("explain", path, "--target", "cpu")
    assert "cpu has no kernels for 1 operator" in done.out
    assert re.search(r"declined Det: .*\n +at here", done.out)
    data = json.loads(burnish("explain", path, "--target", "cpu", "--json").out)
    assert [entry["operator"] for entry in data["declined"]] == ["Det"]
    assert data["declined"][0]["places"] == [["here"]]
    assert "Det runs in ONNX Runtime" in burnish("explain", path, "--target", "cpu", "--node",
                                                 "here").out  # fmt: skip


def test_open_shapes_leave_open_what_a_target_declines(burnish: Burnish, open_model: Path) -> None:
    done = burnish("explain", open_model, "--target", "cpu")
    assert "not known what cpu declines" in done.out
    assert "--input-shape" in done.out
    done = burnish("explain", open_model, "--target", "cpu", "--input-shape", "x=5,6")
    assert "cpu has kernels for all operators" in done.out
