"""Adapters of whole transformers, into what both of torch's exporters make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from burnish.cli import main
from tests.depth import slow

ZOO = Path.home() / ".cache" / "burnish" / "zoo"
MODULES = {
    "gpt": {
        **{f"transformer.h.{n}.attn.c_attn": (96, 288) for n in range(3)},
        **{f"transformer.h.{n}.attn.c_proj": (96, 96) for n in range(3)},
        "lm_head": (96, 1000),
    },
    "minilm": {
        **{f"encoder.layer.{n}.attention.self.query": (384, 384) for n in range(6)},
        **{f"encoder.layer.{n}.intermediate.dense": (384, 1536) for n in range(6)},
    },
}


@pytest.mark.zoo
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("model", ["gpt", slow("minilm")])
def test_every_module_is_found(model: str, exporter: str, tmp_path: Path, capsys: Any) -> None:
    path = ZOO / f"{model}-{exporter}.onnx"
    if not path.exists():
        pytest.skip("make zoo")
    rng, tensors = np.random.default_rng(0), {}
    for module, (inputs, outputs) in MODULES[model].items():
        for part, shape in (("A", (4, inputs)), ("B", (outputs, 4))):
            array = rng.normal(size=shape).astype(np.float32) * 0.1
            tensors[f"base_model.model.{module}.lora_{part}.weight"] = array
    save_file(tensors, tmp_path / "weights.safetensors")
    config = {"r": 4, "lora_alpha": 8, "fan_in_fan_out": model == "gpt"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    arguments = ["adapters", "merge", str(path), str(tmp_path / "weights.safetensors")]
    assert main([*arguments, "-o", str(tmp_path / "out.onnx"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {one["module"] for one in report["merged"]} == set(MODULES[model])
    assert report["error"] < 1e-4
    assert all(one["change"] > 0.01 for one in report["merged"])
