"""Who may import whom, and how large a module may grow."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"compiler": "burnish", "passes": "burnish.passes", "backends": "burnish.backends"}
# From the ground up: a module imports from its own layer and from those before it.
LAYERS = (
    (
        "burnish.agenda",
        "burnish.bisection",
        "burnish.errors",
        "burnish.gates",
        "burnish.layer_formats",
        "burnish.numerics",
        "burnish.suggest",
        "burnish.output",
        "burnish.shape_sets",
        "burnish.onnx_runtime",
        "burnish.npz",
        "burnish.user_code",
        "burnish.data_worker",
        # It knows nothing of code generation.
        "burnish.backends.child",
        "burnish.parameters",
        "burnish.wording",
    ),
    ("burnish.ir",),
    ("burnish.rewrite",),
    ("burnish.analysis",),
    # What benches, and passes that lose something, judge by.
    ("burnish.target", "burnish.oracle", "burnish.quantization.distance"),
    ("burnish.kept", "burnish.verification", "burnish.testing", "burnish.calibration"),
    ("burnish.census",),
    ("burnish.pass_reports",),
    ("burnish.pipeline",),
    ("burnish.report",),
    ("burnish.adapters",),
    ("burnish.passes",),
    ("burnish.narrowing", "burnish.selection"),
    ("burnish.backends",),
    ("burnish.entries",),
    ("burnish.source",),
    ("burnish.compilation", "burnish.optimization"),
    ("burnish.explanation",),
    # What a bench judges by.
    ("burnish.quantization.distance", "burnish.quantization.request", "burnish.pruning.request"),
    ("burnish.bench",),
    ("burnish.diagnosis",),
    ("burnish.quantization",),
    ("burnish.pruning",),
    ("burnish.building",),
    ("burnish.api",),
    ("burnish.cli",),
)
MODULE_LINES, FUNCTION_LINES = 400, 50
BANNED = {"compiler", "passes", "backends"}
IMPORTS_BANNED = re.compile(rf"^[ \t]*(from|import)\b.*\b({'|'.join(BANNED)})\b", re.MULTILINE)


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its import name."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            found[name] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Names of imported modules, and whether the import runs when the module is loaded."""
    return tuple(_imports(tree(path), at_load=True))


def _imports(node: ast.AST, *, at_load: bool) -> Iterator[tuple[str, bool]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, at_load) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module, at_load
        yield from ((f"{node.module}.{alias.name}", at_load) for alias in node.names)
    else:
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_typing_only(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
                yield from _imports(child, at_load=at_load and not later)


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def layer(name: str) -> int | None:
    for rank, group in enumerate(LAYERS):
        if any(name == member or name.startswith(f"{member}.") for member in group):
            return rank
    return None


def python_files() -> list[Path]:
    folders = (*FOLDERS, "tests", "benchmarks")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_module_has_a_layer() -> None:
    homeless = [name for name in modules() if name != "burnish" and layer(name) is None]
    assert not homeless


def test_imports_only_from_lower_layers() -> None:
    rank = {name: layer(name) or 0 for name in modules() if name != "burnish"}
    wrong = [
        f"{name} imports {other}, which lies above it"
        for name, path in modules().items()
        for other, _ in imports(path)
        if {name, other} <= rank.keys() and rank[other] > rank[name]
    ]
    assert not wrong


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import tvm\ndef f():\n    from burnish.cli import main\n")
    assert list(imports(path)) == [
        ("tvm", True), ("burnish.cli", False), ("burnish.cli.main", False),
    ]  # fmt: skip
    for wrong in ("import os, passes", "    from backends.link import x", "import compiler as c"):
        assert IMPORTS_BANNED.search(f"x = 1\n{wrong}\n")


def test_nobody_imports_the_folders_by_name() -> None:
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path in python_files()
        if IMPORTS_BANNED.search(path.read_text())  # parsing all of them takes seconds
        for name, _ in imports(path)
        if name.partition(".")[0] in BANNED
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("library", "homes"),
    [("tvm", ("backends",)), ("onnx_graphsurgeon", ("compiler/ir/onnx_io.py",))],
)
def test_library_stays_at_home(library: str, homes: tuple[str, ...]) -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in modules().values()
        for name, _ in imports(path)
        if name.partition(".")[0] == library and not str(path.relative_to(ROOT)).startswith(homes)
    ]
    assert not wrong


def test_onnxruntime_is_loaded_in_one_place_and_only_when_used() -> None:
    found = [
        (str(path.relative_to(ROOT)), at_load)
        for path in modules().values()
        for name, at_load in imports(path)
        if name.partition(".")[0] == "onnxruntime"
    ]
    homes = {"compiler/bench/engines.py", "compiler/onnx_runtime.py", "compiler/oracle/session.py"}
    assert {home for home, _ in found} == homes
    assert not any(at_load for _, at_load in found)


def test_onnxruntime_leaves_no_trace_of_what_it_runs(tmp_path: Path) -> None:
    code = (
        "import burnish.oracle, burnish.testing, os\n"
        "before = dict(os.environ)\n"
        "graph = burnish.testing.graph('g (float[2] x) => (float[2] y) { y = Relu(x) }')\n"
        "burnish.oracle.Oracle(graph)\n"
        "assert before == dict(os.environ)\n"
    )
    names = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    homes = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment | homes, check=True)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import burnish",
        "import burnish.cli",
        "from burnish import load_artifact",
    ],
)
def test_starting_loads_no_compiler(statement: str) -> None:
    heavy = ["tvm", "onnx", "onnxruntime", "onnx_graphsurgeon", "rich.table"]
    code = f"{statement}\nimport sys\nprint(*[m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_modules_stay_small() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in python_files()}
    large = {str(p.relative_to(ROOT)): n for p, n in lines.items() if n > MODULE_LINES}
    assert not large


def test_functions_stay_small() -> None:
    large = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in python_files()
        if not path.is_relative_to(ROOT / "tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and length(node) > FUNCTION_LINES
    ]
    assert not large


def length(node: ast.FunctionDef) -> int:
    """Lines of a function's body."""
    return (node.end_lineno or 0) - node.body[0].lineno + 1


def test_the_budgets_bind(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def f():\n" + "    pass\n" * (FUNCTION_LINES + 1))
    (function,) = tree(path).body
    assert isinstance(function, ast.FunctionDef)
    assert length(function) > FUNCTION_LINES
