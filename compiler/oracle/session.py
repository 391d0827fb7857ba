"""The oracle: ONNX Runtime without its optimizations, or ONNX's own reference evaluator."""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, StringStringEntryProto, TensorProto

from burnish.errors import BurnishError, UnsupportedModel, UsageError
from burnish.ir import Array, DType, Graph
from burnish.ir.constant import Constant
from burnish.ir.external_data import put
from burnish.ir.onnx_io import skeleton
from burnish.ir.saver import EXTERNAL_ABOVE, save
from burnish.ir.untrusted import walk
from burnish.onnx_runtime import import_onnx_runtime
from burnish.oracle.exact_products import PRODUCTS, exact_products, saturates

RAW_TYPES = {
    f"tensor({dtype})": dtype
    for dtype in (
        DType.BFLOAT16, DType.FLOAT8E4M3FN, DType.FLOAT8E4M3FNUZ, DType.FLOAT8E5M2,
        DType.FLOAT8E5M2FNUZ,
    )
}  # fmt: skip
"""Types that ONNX Runtime computes with but does not exchange with numpy."""

FIRST_OPSET = 7
"""The first opset for which ONNX Runtime has kernels throughout."""

LENT_ABOVE = 1 << 16
"""Bytes from which on weights are not copied; shapes and the like have to be in the message."""
LENT_TYPES = (
    DType.FLOAT, DType.DOUBLE, DType.FLOAT16, DType.INT8, DType.UINT8, DType.INT32, DType.INT64,
)  # fmt: skip
_NOWHERE = "weights-in-memory"
"""The file in which weights are said to be. ONNX Runtime wants it to exist but reads none."""

ITS_OWN_SOURCE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S*/onnxruntime_src/\S+ ")
"""What ONNX Runtime's messages say of its own source; it helps nobody with a model."""

SILENT = 4
"""Only fatal messages: what goes wrong reaches the caller as an exception."""


class Oracle:
    """Runs a model the way it is meant, for other results to be compared with."""

    def __init__(
        self, model: Graph | ModelProto | str | Path, *, reference: bool = False, threads: int = 0,
        optimized: bool = False,
    ) -> None:  # fmt: skip
        """Prepare ``model``.

        Args:
            model: what to run.
            reference: use ONNX's reference evaluator, which has float64 kernels for everything
                but is slow. It also stands in where ONNX Runtime has no kernels for a model of
                an opset that it no longer knows.
            threads: of ONNX Runtime; 0 lets it choose.
            optimized: let ONNX Runtime rewrite and repack what it runs, for speed where results
                are measured and not compared. Weights are copied then, and pairs of quantize and
                dequantize stay as they are.

        Raises:
            UnsupportedModel: the evaluator refuses the model.
        """
        self._engine = _Reference(model) if reference else _engine(model, threads, optimized)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return self._engine.input_names

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return self._engine.output_names

    def run(
        self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Results by name: arrays, or lists and dicts for sequences and maps.

        Args:
            inputs: arrays by input name.
            outputs: names of those that are wanted, by default all; memory is taken for these.

        Raises:
            UsageError: ``inputs`` has other names than the model.
            UnsupportedModel: the model fails on these inputs.
        """
        missing = [name for name in self.input_names if name not in inputs]
        unknown = [name for name in inputs if name not in self.input_names]
        if missing or unknown:
            raise UsageError(
                f"the model takes {', '.join(self.input_names) or 'no inputs'}; "
                + (f"missing: {', '.join(missing)} " if missing else "")
                + (f"unknown: {', '.join(unknown)}" if unknown else "")
            )
        names = self.output_names if outputs is None else tuple(outputs)
        return dict(zip(names, self._engine.run(dict(inputs), names), strict=True))


class _Engine:
    """What runs a model; ``name`` is for messages."""

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def run(self, inputs: dict[str, Any], outputs: tuple[str, ...]) -> list[Any]:
        raise NotImplementedError

    def _refuse(self, doing: str, error: Exception) -> UnsupportedModel:
        text = " ".join(ITS_OWN_SOURCE.sub("", str(error)).split())[:500]
        return UnsupportedModel(f"{self.name} cannot {doing}: {text or type(error).__name__}")


class _OnnxRuntime(_Engine):
    name = "ONNX Runtime"

    def __init__(
        self, model: Graph | ModelProto | str | Path, threads: int, optimized: bool
    ) -> None:
        onnxruntime = import_onnx_runtime()
        options = _session_options(onnxruntime, optimized)
        options.intra_op_num_threads = threads
        self._lent: list[Any] = []
        """Weights that the session reads where they are."""
        with tempfile.TemporaryDirectory(prefix="burnish-") as folder:
            try:
                self._session = onnxruntime.InferenceSession(
                    self._for_session(_exact(model), Path(folder), None if optimized else options),
                    options,
                    providers=["CPUExecutionProvider"],
                )
            except Exception as error:  # its exceptions have no common base but this
                raise self._refuse("load the model", error) from error
        self.input_names = tuple(value.name for value in self._session.get_inputs())
        self.output_names = tuple(value.name for value in self._session.get_outputs())
        values = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._raw = any(value.type in RAW_TYPES for value in values)

    def run(self, inputs: dict[str, Any], outputs: tuple[str, ...]) -> list[Any]:
        # Without a single name ONNX Runtime returns everything.
        if not outputs:
            return []
        try:
            if self._raw:
                return self._run_raw(inputs, outputs)
            return list(self._session.run(outputs, inputs))
        except Exception as error:  # as above
            raise self._refuse("run the model on these inputs", error) from error

    def _for_session(
        self, model: Graph | ModelProto | str | Path, folder: Path, lending: Any
    ) -> bytes | str:
        """What ONNX Runtime can open: bytes, or a path where weights are not in the message.

        Weights are lent through the options ``lending``, if any: its optimizations cannot read
        such.
        """
        if isinstance(model, ModelProto):
            return bytes(model.SerializeToString())
        if not isinstance(model, Graph):
            return str(model)
        parts, path = skeleton(model), folder / "model.onnx"
        main = {tensor.name for tensor in parts.model.graph.initializer}
        lent = {
            name: array for name, constant in parts.constants.items()
            if lending and name in main and (array := _lendable(constant)) is not None
        }  # fmt: skip
        if parts.nbytes - sum(array.nbytes for array in lent.values()) > EXTERNAL_ABOVE:
            save(model, path)
            return str(path)
        for tensor in parts.initializers():
            if tensor.name in lent:
                self._lend(tensor, lent[tensor.name], lending)
            else:
                put(tensor, parts.constants[tensor.name])
        (folder / _NOWHERE).touch()
        path.write_bytes(parts.model.SerializeToString())
        return str(path)

    def _lend(self, tensor: TensorProto, array: Array, options: Any) -> None:
        """Let the session read ``array`` in place, where copies would double a model's memory."""
        from onnxruntime import OrtValue

        value = OrtValue.ortvalue_from_numpy(array)
        self._lent.append(value)
        options.add_initializer(tensor.name, value)
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (("location", _NOWHERE), ("offset", "0"), ("length", str(array.nbytes))):
            tensor.external_data.append(StringStringEntryProto(key=key, value=text))

    def _run_raw(self, inputs: dict[str, Any], outputs: tuple[str, ...]) -> list[Any]:
        """Run with tensors that numpy alone cannot describe, passed by their bytes."""
        from onnxruntime import OrtValue

        given = {}
        for value in self._session.get_inputs():
            array = np.ascontiguousarray(inputs[value.name])
            dtype = RAW_TYPES.get(value.type)
            if dtype is None:
                given[value.name] = OrtValue.ortvalue_from_numpy(array)
            else:
                bits = array.view(np.uint16 if dtype.bits == 16 else np.uint8)
                given[value.name] = OrtValue.ortvalue_from_numpy_with_onnx_type(bits, int(dtype))
        results = self._session.run_with_ort_values(outputs, given)
        return [_from_ort_value(value) for value in results]


class _Reference(_Engine):
    name = "ONNX's reference evaluator"

    def __init__(self, model: Graph | ModelProto | str | Path) -> None:
        from onnx.reference import ReferenceEvaluator

        from burnish.oracle.reference_ops import MORE_EXACT

        try:
            self._evaluator = ReferenceEvaluator(
                model.to_onnx() if isinstance(model, Graph) else model, new_ops=list(MORE_EXACT)
            )
        except UnsupportedModel:
            raise
        except Exception as error:  # raises whatever its operators raise
            raise self._refuse("load the model", error) from error
        self.input_names = tuple(self._evaluator.input_names)
        self.output_names = tuple(self._evaluator.output_names)

    def run(self, inputs: dict[str, Any], outputs: tuple[str, ...]) -> list[Any]:
        try:
            with np.errstate(all="ignore"):
                return list(self._evaluator.run(list(outputs), inputs))
        except Exception as error:  # as above
            raise self._refuse("run the model on these inputs", error) from error


def _session_options(onnxruntime: Any, optimized: bool) -> Any:
    """Options of a session that computes each operator as it stands, or, if so asked, as fast."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    if optimized:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        return options
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Packed weights take other kernels: folding what makes a weight would change the rounding.
    options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _exact(model: Graph | ModelProto | str | Path) -> Graph | ModelProto | str | Path:
    """``model``, or what computes the same where ONNX Runtime would saturate its products."""
    if isinstance(model, Graph):
        return exact_products(model)
    if not saturates() or (isinstance(model, ModelProto) and not _multiplies_bytes(model)):
        return model
    try:
        graph = Graph.from_onnx(model)
        made = exact_products(graph)
    except BurnishError:  # what is no graph here is left to ONNX Runtime, as it is
        return model
    return model if made is graph else made


def _multiplies_bytes(model: ModelProto) -> bool:
    nodes = (message for message in walk(model) if isinstance(message, NodeProto))
    return any((node.domain, node.op_type) in PRODUCTS for node in nodes)


def _engine(model: Graph | ModelProto | str | Path, threads: int, optimized: bool) -> _Engine:
    """ONNX Runtime, or the reference evaluator for a model that is older than its kernels."""
    try:
        return _OnnxRuntime(model, threads, optimized)
    except UnsupportedModel as error:
        if "NOT_IMPLEMENTED" not in str(error.__cause__) or _opset(model) >= FIRST_OPSET:
            raise
        try:
            return _Reference(model)
        except UnsupportedModel:
            raise error from None


def _opset(model: Graph | ModelProto | str | Path) -> int:
    """Version of the standard operators, where that is known without reading a file."""
    if isinstance(model, Graph):
        return model.opset
    if isinstance(model, ModelProto):
        return max((o.version for o in model.opset_import if o.domain == ""), default=1)
    return FIRST_OPSET


def _lendable(constant: Constant) -> Array | None:
    """The elements of a large constant, if ONNX Runtime can read them where they are."""
    if constant.nbytes < LENT_ABOVE or constant.dtype not in LENT_TYPES:
        return None
    array = constant.numpy()
    return array if array.flags.c_contiguous and array.flags.aligned else None


def _from_ort_value(value: Any) -> Any:
    dtype = RAW_TYPES.get(value.data_type())
    if dtype is None:
        return value.numpy()
    content = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(content, dtype.numpy).reshape(value.shape())
