"""Model-local functions: inlined when a model is loaded, so that passes see operators only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import FunctionProto, ModelProto, NodeProto, inliner

from burnish.errors import InvalidInput, UnsupportedModel

MAX_INLINED_NODES = 1_000_000
"""Nested functions can double in size at every level; beyond this a model is an attack."""
MAX_DEPTH = 64
"""Levels of functions that call functions."""

Key = tuple[str, str, str]


def inline_functions(model: ModelProto) -> ModelProto:
    """Replace calls of model-local functions by their bodies; ``model`` may be changed.

    Raises:
        InvalidInput: functions call each other in a circle or grow without bound.
        UnsupportedModel: the inliner could not remove a function.
    """
    if not model.functions:
        return model
    _check_size(model)
    _spell_out_defaults(model)
    try:
        inlined: ModelProto = inliner.inline_local_functions(model)
        if _called(inlined):
            # Functions written for another opset stay behind unless their bodies are converted.
            inlined = inliner.inline_local_functions(model, convert_version=True)
    except RuntimeError as error:
        raise InvalidInput(
            f"the model's local functions cannot be inlined: {' '.join(str(error).split())[:300]}; "
            "inline them at export"
        ) from error
    left = _called(inlined)
    if left:
        raise UnsupportedModel(
            f"model-local function {'::'.join(filter(None, left[0]))!r} could not be inlined "
            "(its opset differs from the model's); inline it at export"
        )
    del inlined.functions[:]
    return inlined


def _spell_out_defaults(model: ModelProto) -> None:
    """Write the default attributes of functions into their calls; the inliner forgets them."""
    functions = {_key(function): function for function in model.functions}
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in _walk(nodes):
            function = functions.get(_call(node))
            if function is not None:
                given = {attribute.name for attribute in node.attribute}
                node.attribute.extend(a for a in function.attribute_proto if a.name not in given)


def _called(model: ModelProto) -> list[Key]:
    """Functions of ``model`` that its nodes still call."""
    if not model.functions:
        return []
    keys = {_key(function) for function in model.functions}
    return [call for call in map(_call, _walk(model.graph.node)) if call in keys]


def _check_size(model: ModelProto) -> None:
    """Count the nodes that inlining makes, in an order that finds circles."""
    functions = {_key(function): function for function in model.functions}
    sizes: dict[Key, int] = {}
    open_calls: list[Key] = []

    def size(nodes: Iterable[NodeProto]) -> int:
        total = 0
        for node in _walk(nodes):
            key = _call(node)
            total += of(key) if key in functions else 1
            if total > MAX_INLINED_NODES:
                raise InvalidInput(
                    f"inlining the model's functions gives over {MAX_INLINED_NODES} nodes; "
                    "refused for safety"
                )
        return total

    def of(key: Key) -> int:
        if key in open_calls:
            raise InvalidInput(
                f"model-local function {key[1]!r} calls itself, which ONNX does not allow"
            )
        if len(open_calls) >= MAX_DEPTH:
            raise InvalidInput(
                f"model-local functions call each other more than {MAX_DEPTH} levels deep; "
                "refused for safety"
            )
        if key not in sizes:
            open_calls.append(key)
            sizes[key] = size(functions[key].node)
            open_calls.pop()
        return sizes[key]

    size(model.graph.node)


def _walk(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk(attribute.g.node)
            for body in attribute.graphs:
                yield from _walk(body.node)


def _key(function: FunctionProto) -> Key:
    return (function.domain, function.name, function.overload)


def _call(node: NodeProto) -> Key:
    return (node.domain, node.op_type, node.overload)
