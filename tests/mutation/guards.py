"""Guards in the source of passes: where they are, and the source without one of them.

A guard is a condition under which a rule declines: `if condition: return Miss(...)`, or one arm of
`return facts if condition else Miss(...)`.
"""

import ast
from collections.abc import Iterator


def guards(source: str) -> list[int]:
    """The lines of all guards."""
    return sorted(node.lineno for node in ast.walk(ast.parse(source)) if _is_guard(node))


def without(source: str, line: int) -> ast.Module:
    """The module with the guard at ``line`` removed: its condition is evaluated, then ignored.

    Raises:
        ValueError: there is no guard at that line.
    """
    tree = ast.parse(source)
    found = [node for node in ast.walk(tree) if _is_guard(node) and node.lineno == line]
    if not found:
        raise ValueError(f"no guard at line {line}")
    for node in found:
        _disarm(node)
    return ast.fix_missing_locations(tree)


def _is_guard(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        last = node.body[-1]
        return isinstance(last, ast.Return) and _is_miss(last.value)
    return isinstance(node, ast.IfExp) and any(map(_is_miss, (node.body, node.orelse)))


def _is_miss(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Call) and "Miss" in _names(node.func)


def _names(node: ast.expr) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _disarm(node: ast.AST) -> None:
    """Make the condition choose what happens when the guard has nothing against it."""
    if isinstance(node, ast.If):
        node.test = ast.BoolOp(ast.And(), [node.test, ast.Constant(False)])
    elif isinstance(node, ast.IfExp):
        if _is_miss(node.body):
            node.test = ast.BoolOp(ast.And(), [node.test, ast.Constant(False)])
        else:
            node.test = ast.BoolOp(ast.Or(), [node.test, ast.Constant(True)])
