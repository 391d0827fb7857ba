"""What loops carry and scan in vain."""

from __future__ import annotations

from collections import deque

from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.ir.clone import values_read
from burnish.passes.cleanup.loop_bodies import Layout, removable
from burnish.rewrite import Rewriter


def trim_states(rewriter: Rewriter, node: OperatorNode) -> tuple[VariableNode, ...]:
    """Take away states of a Loop or Scan that neither a result nor a living state depends on.

    Returns the body's inputs for them: what reads them still has to be removed.
    """
    layout = Layout.of(node)
    if layout is None or not layout.states:
        return ()
    body = node.subgraphs["body"]
    living = _living(node, body, layout)
    dead = removable(node, [state for state in range(layout.states) if state not in living])
    if not dead or len(dead) == len(node.outputs):
        return ()
    inputs = tuple(body.inputs[layout.inner + state] for state in dead)
    rewriter.drop_states(node, dead, given=layout.given, inner=layout.inner, first=layout.first)
    return inputs


def _living(node: OperatorNode, body: Graph, layout: Layout) -> set[int]:
    """States that something depends on which is read, in one walk backwards from there."""
    living = {state for state in range(layout.states) if node.outputs[state].uses}
    states = {body.inputs[layout.inner + state]: state for state in range(layout.states)}
    roots = list(body.outputs[: layout.first])
    roots += [body.outputs[layout.first + state] for state in living]
    stacked = zip(node.outputs[layout.states :], body.outputs[layout.first + layout.states :],
                  strict=True)  # fmt: skip
    roots += [inner for outer, inner in stacked if outer.uses]
    pending, seen = deque(roots), set(roots)
    while pending:
        value = pending.popleft()
        found: list[VariableNode] = []
        state = states.get(value)
        if state is not None:
            living.add(state)
            found.append(body.outputs[layout.first + state])
        elif value.producer is not None and value.producer.graph is body:
            found = values_read(value.producer)
        for each in found:
            if each not in seen:
                seen.add(each)
                pending.append(each)
    return living


def trim_scanned(rewriter: Rewriter, node: OperatorNode) -> None:
    """Take away inputs of a Scan whose slices nobody reads; one stays, for its length."""
    layout = Layout.of(node)
    if layout is None or not node.is_op("Scan"):
        return
    body, count = node.subgraphs["body"], int(node.attribute("num_scan_inputs"))
    dead = [n for n in range(count) if not body.inputs[layout.states + n].uses]
    if len(dead) == count:
        # The length is that of each of them.
        dead = dead[1:]
    if not dead:
        return
    for name in ("scan_input_axes", "scan_input_directions"):
        drop_items(rewriter, node, name, dead)
    rewriter.set_attribute(node, "num_scan_inputs", count - len(dead))
    gone = {layout.states + n for n in dead}
    rewriter.set_inputs(node, [v for n, v in enumerate(node.inputs) if n not in gone])
    rewriter.drop_parameters(body, gone)


def drop_items(rewriter: Rewriter, node: OperatorNode, name: str, indices: list[int]) -> None:
    """Take the items at ``indices`` out of a list attribute, if there is one."""
    items = node.attribute(name)
    if items:
        kept = tuple(item for n, item in enumerate(items) if n not in indices)
        rewriter.set_attribute(node, name, kept or None)
