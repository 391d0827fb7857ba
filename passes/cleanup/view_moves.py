"""Rewrites operators to work on other leading axes, with reshapes where they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.passes.cleanup.leading_axes import Dims, Form, reshape_target
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.rewrite import Rewriter

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def rewrite(
    graph: Graph,
    rewriter: Rewriter,
    forms: Mapping[OperatorNode, Form],
    values: set[VariableNode],
    shape: Callable[[VariableNode], Dims],
) -> None:
    """Do what ``forms`` say to their nodes; ``values`` get the shapes that ``shape`` gives."""
    new: dict[VariableNode, VariableNode] = {}
    views = [value.producer for value in values if value.producer not in forms]
    for node in in_order(forms):
        form = forms[node]
        for index in form.data:
            value = node.inputs[index]
            if value is not None and value not in new:
                rewriter.provenance = node.provenance
                new[value] = _entered(graph, rewriter, value, shape(value))
        rewriter.anchor, rewriter.provenance = node, node.provenance
        for old, result in zip(node.outputs, _moved(rewriter, node, form, new), strict=True):
            result.dtype = old.dtype
            if old.uses:
                result.shape = shape(old)
                new[old] = result
    for node in in_order(forms):
        for value in node.outputs:
            if value in new:
                _leave(rewriter, node, value, new[value], forms)
    rewriter.erase_unused([*forms, *(view for view in views if view is not None)])


def in_order(forms: Mapping[OperatorNode, Form]) -> Iterator[OperatorNode]:
    """The nodes of ``forms``, each after those that it reads from."""
    done: set[OperatorNode] = set()
    for start in forms:
        stack = [(start, False)]
        while stack:
            node, ready = stack.pop()
            if node in done:
                continue
            if ready:
                done.add(node)
                yield node
                continue
            stack.append((node, True))
            makers = (v.producer for v in node.inputs if v is not None)
            stack += [(m, False) for m in makers if m is not None and m in forms and m not in done]


def _moved(
    rewriter: Rewriter, node: OperatorNode, form: Form, new: Mapping[VariableNode, VariableNode]
) -> tuple[VariableNode, ...]:
    """The results of ``node`` on the new leading axes."""
    inputs = list(node.inputs)
    for index in form.data:
        value = inputs[index]
        assert value is not None
        inputs[index] = new[value]
    for index, side in form.sides.items():
        value = inputs[index]
        assert value is not None and value.constant is not None
        inputs[index] = rewriter.constant(value.constant.numpy().reshape(side))
    for index, integers in form.parameters.items():
        inputs += [None] * (index + 1 - len(inputs))
        inputs[index] = rewriter.constant(np.array(integers, np.int64))
    count = len(node.outputs)
    first = rewriter.op(node.op_type, inputs, form.attributes, outputs=count)
    assert first.producer is not None
    return first.producer.outputs


def _entered(graph: Graph, rewriter: Rewriter, value: VariableNode, shape: Dims) -> VariableNode:
    """``value``, which comes from outside, with the new leading axes."""
    if value.constant is not None:
        sizes = [dim for dim in shape if isinstance(dim, int)]
        return rewriter.constant(value.constant.numpy().reshape(sizes))
    source, maker = value, value.producer
    if maker is not None and maker.is_op(*VIEWS) and maker.inputs[0] is not None:
        source = maker.inputs[0]
        if source.shape == shape:
            return source
    inside = maker is not None and maker.graph is graph
    rewriter.anchor = maker.next if inside and maker is not None else graph.first
    return _reshaped(rewriter, source, shape, value)


def _reshaped(
    rewriter: Rewriter, source: VariableNode, shape: Dims, like: VariableNode
) -> VariableNode:
    target = reshape_target(shape)
    assert target is not None
    sized = VariableNode(dtype=like.dtype)
    sized.shape = shape
    return rewriter.op("Reshape", [source, rewriter.constant(target)], like=sized)


def _leave(
    rewriter: Rewriter, node: OperatorNode, old: VariableNode, new: VariableNode,
    forms: Mapping[OperatorNode, Form],
) -> None:  # fmt: skip
    """Give ``new`` to what reads ``old`` outside of ``forms``, in the shape that it wants."""
    assert new.shape is not None
    for user in [use.user for use in old.uses if use.index == 0]:
        if not isinstance(user, OperatorNode) or user in forms or not user.is_op(*VIEWS):
            continue
        result = user.output
        assert result.shape is not None
        rewriter.anchor, rewriter.provenance = user, user.provenance
        if result.shape == new.shape and can_stand_in(new, result):
            rewriter.replace(result, new)
        elif user.inputs[0] is old:
            rewriter.replace(result, _reshaped(rewriter, new, result.shape, result))
        rewriter.erase_unused([user])
    if any(use.user not in forms for use in old.uses):
        assert old.shape is not None
        rewriter.anchor, rewriter.provenance = node, node.provenance
        rewriter.replace(old, _reshaped(rewriter, new, old.shape, old))
