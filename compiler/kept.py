"""Values that a caller wants to find in a rewritten graph again, under the names that they have.

While passes run they are outputs of the graph: nothing is left out that a value with readers needs,
and verification compares them. Afterwards they are intermediate values again.
"""

from __future__ import annotations

from collections.abc import Sequence

from burnish.errors import UsageError
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.suggest import unknown


def expose(graph: Graph, names: Sequence[str]) -> int:
    """Make the values of ``graph`` called ``names`` its last outputs; return how many there are.

    Inputs and outputs keep their names anyway and are left out.

    Raises:
        UsageError: the graph itself, apart from its subgraphs, computes no such value.
    """
    made = {value.name: value for node in graph for value in node.outputs if value.name}
    interface = {value.name for value in graph.inputs} | set(graph.output_names)
    wanted = [name for name in dict.fromkeys(names) if name not in interface]
    for name in wanted:
        if name not in made:
            raise UsageError(unknown("tensor in the main graph", name, made))
    all_names = (*graph.output_names, *wanted)
    graph.outputs = (*graph.outputs, *(made[name] for name in wanted))
    graph.output_names = all_names
    return len(wanted)


def conceal(graph: Graph, count: int) -> None:
    """Turn the last ``count`` outputs of ``graph`` into values with the names of these outputs."""
    if not count:
        return
    first = len(graph.outputs) - count
    values, names = graph.outputs[first:], graph.output_names[first:]
    kept = graph.output_names[:first]
    graph.outputs = graph.outputs[:first]
    graph.output_names = kept
    for other in graph.variables():
        if other.name in names and other not in values:
            # What came to stand for such a value may have got its name.
            other.name = ""
    taken: set[VariableNode] = set(graph.outputs)
    for value, name in zip(values, names, strict=True):
        if value.producer is None or value in taken:
            # An input, a constant or a value that has a name to keep already.
            copy = VariableNode(name, value.dtype, value.shape)
            graph.append(OperatorNode("Identity", [value], [copy]))
        else:
            value.name = name
            taken.add(value)
