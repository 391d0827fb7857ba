"""The quantizers that are compared, each from the same samples with the settings it advises."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.compiling import make, run_burnish, shape_options
from benchmarks.inputs import Shape
from benchmarks.int8.samples import read

PER_CHANNEL = 13
"""The opset whose DequantizeLinear takes a scale for each channel."""
LIMIT = 1800.0
"""Seconds after which a quantizer counts as hanging."""


class QuantizerFailed(Exception):
    """A quantizer could not make a model; the message is its own."""


def ours(model: Path, samples: Path, output: Path, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Run ``burnish compile --quantize int8``, or ``optimize`` for an .onnx file.

    Args:
        model: an ONNX file.
        samples: a folder of .npz files.
        output: what to write.
        arguments: more options of the command.

    Returns:
        As `make`.

    Raises:
        CommandFailed: it fails.
    """
    options = ["--quantize", "int8", "--calibration", str(samples), *arguments]
    return make(model, output, options)


def plain(model: Path, output: Path, shapes: Mapping[str, Shape], threads: int) -> None:
    """Compile without quantizing.

    Raises:
        CommandFailed: it fails.
    """
    arguments = ["compile", str(model), "-o", str(output), "--threads", str(threads)]
    run_burnish([*arguments, *shape_options(shapes)])


def onnx_runtime(model: Path, samples: Path, output: Path, *, operators: bool = False) -> None:
    """ONNX Runtime's ``quantize_static`` after its pre-processing.

    Weights per channel; per tensor where it cannot do that.

    Args:
        model: an ONNX file.
        samples: a folder of .npz files.
        output: the ONNX file to write.
        operators: write operators on integers, as QLinearConv, instead of QDQ.

    Raises:
        QuantizerFailed: it fails.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = read(samples)

        def get_next(self) -> Any:
            return next(self._samples, None)

    def make(prepared: Path, *, per_channel: bool) -> None:
        quantize_static(
            str(prepared), str(output), Reader(), per_channel=per_channel,
            quant_format=QuantFormat.QOperator if operators else QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip

    with _prepared(model) as prepared:
        try:
            make(prepared, per_channel=True)
        except ValueError:  # for some products followed by a bias it compares whole vectors
            make(prepared, per_channel=False)


def onnx_runtime_dynamic(model: Path, output: Path) -> None:
    """ONNX Runtime's ``quantize_dynamic``: weights per channel, activations as they come.

    Raises:
        QuantizerFailed: it fails.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _prepared(model) as prepared:
        quantize_dynamic(
            str(prepared), str(output), per_channel=True, weight_type=QuantType.QInt8
        )  # fmt: skip


@contextmanager
def _prepared(model: Path) -> Iterator[Path]:
    """What ONNX Runtime's pre-processing makes of a model, for its quantizers.

    Raises:
        QuantizerFailed: it fails, or what the file is used for does.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="burnish-int8-") as folder:
        prepared = Path(folder, "prepared.onnx")
        try:
            model = _whole(model, Path(folder, "whole.onnx"))
            try:
                quant_pre_process(str(model), str(prepared))
            except Exception:  # symbolic shape inference knows fewer models than its optimizer
                quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
            yield prepared
        except Exception as error:  # whatever its parts raise
            raise QuantizerFailed(f"onnxruntime: {error}") from error


def _whole(model: Path, converted: Path) -> Path:
    """A file with all weights of the model, in the first opset whose scales may be per channel.

    What ONNX Runtime's pre-processing makes of weights in files of their own it cannot read.
    """
    import onnx
    from onnx import version_converter

    content = onnx.load(model)
    opset = next(one.version for one in content.opset_import if one.domain in ("", "ai.onnx"))
    if opset < PER_CHANNEL:
        content = version_converter.convert_version(content, PER_CHANNEL)
    # Exporters write shapes of weights down, which their quantizer transposes.
    weights = {one.name for one in content.graph.initializer}
    values = [one for one in content.graph.value_info if one.name not in weights]
    del content.graph.value_info[:]
    content.graph.value_info.extend(values)
    onnx.save(content, converted)
    return converted


def nncf(python: Path, model: Path, samples: Path, output: Path, *, transformer: bool) -> None:
    """NNCF's ``quantize`` in an interpreter that has it; see `nncf_worker`.

    Raises:
        QuantizerFailed: it fails.
    """
    worker = Path(__file__).with_name("nncf_worker.py")
    kind = "transformer" if transformer else "plain"
    command = [str(python), str(worker), *map(str, (model, samples, output)), kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise QuantizerFailed(f"nncf: no end after {LIMIT:.0f} s") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise QuantizerFailed(f"nncf: {said[-1][:300] if said else 'it said nothing'}")
