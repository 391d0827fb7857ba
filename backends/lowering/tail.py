"""The long tail of operators: TVM's own ONNX converters, one operator at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import GenericConst
from tvm.relax.frontend.onnx import onnx_frontend

from burnish.backends.lowering.elementwise import numpy_name
from burnish.backends.lowering.emitter import Emitter
from burnish.backends.lowering.layout import identity
from burnish.backends.lowering.plan import shape_of
from burnish.backends.program import Buffer
from burnish.ir import Constant, DType, OperatorNode, VariableNode

SMALL = 1024
"""Elements up to which a constant operand is handed to a converter as a constant."""


CONTRIBUTED = frozenset({"Attention", "RotaryEmbedding"})
"""Names under which TVM converts ONNX Runtime's operators, not the standard's."""


def _trains(node: OperatorNode) -> str | None:
    return (
        f"{node.op_type} that trains is not compiled" if node.attribute("training_mode") else None
    )


def _single(node: OperatorNode) -> str | None:
    used = any(value.uses for value in node.outputs[1:])
    return f"{node.op_type} with further outputs is not compiled" if used else None


def _largest(node: OperatorNode) -> str | None:
    mode = _plain(node.attribute("mode", "avg"))
    return f"{node.op_type} of the largest element is not compiled" if mode == "max" else None


DISTRUSTED: dict[str, Callable[[OperatorNode], str | None]] = {
    "BatchNormalization": _trains,
    "Dropout": lambda node: "Dropout that trains is not compiled",
    "LayerNormalization": _single,
    "RoiAlign": _largest,
    "LpPool": lambda node: (
        "TVM counts wrongly under ceil_mode" if node.attribute("ceil_mode") else None
    ),
}
"""Where TVM's converters are known to be wrong, with the reason to give."""


@dataclass(frozen=True)
class Step:
    """One kernel of a converted operator; operands are names of values within it."""

    func: Any
    reads: tuple[str, ...]
    writes: tuple[tuple[str, tuple[int, ...], str], ...]
    """Name, shape and dtype of each result."""


@dataclass(frozen=True)
class Converted:
    """An operator as kernels over named values: ``inputs`` by position, results in order."""

    inputs: tuple[tuple[str, VariableNode], ...]
    constants: tuple[tuple[str, Any], ...]
    steps: tuple[Step, ...]
    results: tuple[str, ...]


_UNWRITTEN = {
    "MatMulNBits": "no kernel reads weights that are packed in blocks of a few bits; write them as "
    "DequantizeLinear before MatMul",
    "QAttention": "no kernel computes a whole attention layer of integers; quantize its products "
    "one by one, as QDQ",
    "QEmbedLayerNormalization": "no kernel reads quantized tables of embeddings; leave these in "
    "floats",
}
"""Why operators of ONNX Runtime's own are computed by it, and what would change that."""


class NotConverted(Exception):
    """TVM's importer cannot take the operator as it stands; says why."""


def convert(node: OperatorNode, opset: int) -> Converted:
    """Convert one operator with static shapes.

    Raises:
        NotConverted: no converter, or what it makes are not plain kernels.
    """
    converter = onnx_frontend._get_convert_map().get(node.op_type)
    foreign = node.domain not in ("", "ai.onnx") or node.op_type in CONTRIBUTED
    if foreign or converter is None or node.subgraphs:
        unwritten = _UNWRITTEN.get(node.op_type) if node.domain == "com.microsoft" else None
        raise NotConverted(unwritten or f"TVM has no converter for {node.op_type}")
    distrusted = DISTRUSTED.get(node.op_type)
    reason = distrusted(node) if distrusted else None
    if reason is not None:
        raise NotConverted(reason)
    try:
        module = _legalized(node, converter.get_converter(opset))
    except NotConverted:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()
        reason = first[-1] if first else type(error).__name__
        raise NotConverted(f"TVM's converter of {node.op_type} declined: {reason}") from error
    converted = _read_back(node, module)
    _check_results(node, converted)
    return converted


def _check_results(node: OperatorNode, converted: Converted) -> None:
    """Make sure that what the converter makes has the types that the graph states."""
    types = {name: (shape, dtype) for step in converted.steps for name, shape, dtype in step.writes}
    types |= {n: (shape_of(v), numpy_name(v.dtype)) for n, v in converted.inputs}
    types |= {n: (tuple(array.shape), str(array.dtype)) for n, array in converted.constants}
    for index, value in enumerate(node.outputs):
        if not value.uses:
            continue
        stated = (shape_of(value), numpy_name(value.dtype))
        made = types[converted.results[index]] if index < len(converted.results) else None
        if made != stated:
            raise NotConverted(f"TVM's converter of {node.op_type} makes {made}, not {stated}")


def _legalized(node: OperatorNode, function: Any) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    params: list[relax.Var] = []
    operands = onnx_frontend.onnx_input()
    for index, value in enumerate(node.inputs):
        operands.append(_operand(value, index, params))
    attributes = {key: _plain(value) for key, value in node.attributes.items()}
    attributes["tvm_custom"] = {"name": "node", "num_outputs": len(node.outputs)}
    with builder.function("main", params):
        with builder.dataflow():
            made = builder.normalize(function(builder, operands, attributes, [{}, {}]))
            out = builder.emit_output(made)
        builder.emit_func_output(out)
    passes = [
        relax.transform.DecomposeOpsForInference(), relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(), relax.transform.FuseOps(),
        relax.transform.FuseTIR(), relax.transform.DeadCodeElimination(),
    ]  # fmt: skip
    return tvm.transform.Sequential(passes)(builder.get())


def _operand(value: VariableNode | None, index: int, params: list[relax.Var]) -> Any:
    if value is None:
        return None
    if value.constant is not None and value.constant.size <= SMALL:
        return relax.const(np.asarray(value.constant.numpy()), numpy_name(value.dtype))
    var = relax.Var(f"x{index}", relax.TensorType(shape_of(value), numpy_name(value.dtype)))
    params.append(var)
    return var


def _plain(value: Any) -> Any:
    """An attribute as the converters expect it."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, DType):
        return int(value)
    if isinstance(value, Constant):
        return value.numpy()
    return value


def _read_back(node: OperatorNode, module: tvm.IRModule) -> Converted:
    """The kernel calls of a Relax function, in order."""
    main = module["main"]
    names: dict[Any, str] = {}
    inputs = []
    for var in main.params:
        name = str(var.name)
        names[var] = name
        value = node.inputs[int(name[1:])]
        assert value is not None
        inputs.append((name, value))
    constants: list[tuple[str, Any]] = []
    steps: list[Step] = []
    tuples: dict[Any, Sequence[str]] = {}

    def operand(expr: Any) -> str:
        if isinstance(expr, GenericConst):
            constants.append((f"c{len(constants)}", expr.value.numpy()))
            return constants[-1][0]
        if expr not in names:
            raise NotConverted(f"{node.op_type} is no chain of plain kernels in TVM")
        return names[expr]

    for block in main.body.blocks:
        for binding in block.bindings:
            _read_binding(node, module, binding, names, tuples, steps, operand)
    body = main.body.body
    if body in tuples:
        return Converted(tuple(inputs), tuple(constants), tuple(steps), tuple(tuples[body]))
    fields = body.fields if isinstance(body, relax.Tuple) else [body]
    results = tuple(operand(expr) for expr in fields)
    return Converted(tuple(inputs), tuple(constants), tuple(steps), results)


def _read_binding(
    node: OperatorNode,
    module: tvm.IRModule,
    binding: Any,
    names: dict[Any, str],
    tuples: dict[Any, Sequence[str]],
    steps: list[Step],
    operand: Any,
) -> None:
    value = binding.value
    if isinstance(value, relax.TupleGetItem):
        names[binding.var] = tuples[value.tuple_value][value.index]
    elif isinstance(value, relax.Tuple):
        tuples[binding.var] = [operand(field) for field in value.fields]
    elif isinstance(value, relax.Var | GenericConst):
        names[binding.var] = operand(value)
    elif isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.call_tir":
        func = module[value.args[0]]
        if "call_packed" in func.script():
            raise NotConverted(f"{node.op_type} calls into TVM's runtime, which artifacts lack")
        reads = tuple(operand(arg) for arg in value.args[1].fields)
        types = binding.var.ty
        many = isinstance(types, relax.TupleType)
        made = []
        for index, kind in enumerate(types.fields if many else [types]):
            shape = tuple(int(extent) for extent in kind.shape)
            made.append((f"t{len(steps)}_{index}", shape, str(kind.dtype)))
        steps.append(Step(func, reads, tuple(made)))
        if many:
            tuples[binding.var] = [name for name, _, _ in made]
        else:
            names[binding.var] = made[0][0]
    else:
        raise NotConverted(f"{node.op_type} is no chain of plain kernels in TVM")


def emit_converted(emitter: Emitter, node: OperatorNode, converted: Converted) -> None:
    """Emit the kernels of a converted operator; everything is row-major."""
    held: dict[str, Buffer] = {
        name: emitter.located(value, identity(len(shape_of(value))))
        for name, value in converted.inputs
    }
    held |= {name: emitter.constant(array) for name, array in converted.constants}
    for number, step in enumerate(converted.steps):
        targets = []
        for name, shape, dtype in step.writes:
            held[name] = emitter.temporary(f"{node.name}.{name}", shape, dtype)
            targets.append(held[name])
        operands = [held[name] for name in step.reads]
        label = f"{node.op_type.lower()}{number}"
        emitter.record(step.func, operands, targets, (node,), label)
    for value, name in zip(node.outputs, converted.results, strict=False):
        if value.uses:
            emitter.home[value] = emitter.view(held[name], shape_of(value))
