"""Quantizes a model with NNCF: a script for an interpreter that has it, and nothing of burnish.

``python nncf_worker.py MODEL.onnx SAMPLES OUTPUT KIND``: KIND is ``transformer`` or ``plain``, and
OUTPUT an .onnx or, for OpenVINO, an .xml file.
"""

import sys
from pathlib import Path

import numpy as np


def main(model: Path, samples: Path, output: Path, kind: str) -> None:
    """Quantize with default settings, as NNCF's documentation shows it."""
    import nncf  # type: ignore[import-not-found]

    feeds = []
    for path in sorted(samples.glob("*.npz")):
        with np.load(path) as content:
            feeds.append({name: content[name] for name in content.files})
    options = {"subset_size": len(feeds)}
    if kind == "transformer":
        options["model_type"] = nncf.ModelType.TRANSFORMER
    if output.suffix == ".onnx":
        import onnx

        quantized = nncf.quantize(onnx.load(model), nncf.Dataset(feeds), **options)
        onnx.save(quantized, output)
        return
    import openvino

    read = openvino.Core().read_model(model)
    read.reshape({name: list(array.shape) for name, array in feeds[0].items()})
    openvino.save_model(
        nncf.quantize(read, nncf.Dataset(feeds), **options), output, compress_to_fp16=False
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
