"""The table of passes: sorted, importable, documented, tested, and used."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes import PASSES, get_pass
from burnish.passes.presets import PRESETS, preset
from burnish.pipeline import Pass, PassContext, RulePass
from burnish.rewrite import Rule
from burnish.target import resolve

ROOT = Path(__file__).resolve().parent.parent
CONTEXTS = (PassContext(), PassContext(target=resolve("x86-64-v3")))


def kind(name: str) -> type[Pass]:
    module, _, class_name = PASSES[name].partition(":")
    found: type[Pass] = getattr(import_module(module), class_name)
    return found


def test_the_table_is_sorted_and_names_are_kebab_case() -> None:
    assert list(PASSES) == sorted(PASSES)
    assert all(re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name) for name in PASSES)


def test_no_pass_is_missing_from_the_table() -> None:
    written = {
        f"burnish.passes.{path.parent.name}.{path.stem}:{name}"
        for path in (ROOT / "passes").glob("*/*.py")
        for name in re.findall(r"^class (\w+)\((?:Rule)?Pass\)", path.read_text(), re.MULTILINE)
    }
    assert written == set(PASSES.values())


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_is_what_the_table_says(name: str) -> None:
    step = kind(name)
    assert issubclass(step, Pass)
    assert step.name == name
    assert step.__name__.lower() == name.replace("-", "")
    assert is_dataclass(step)
    assert step.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert step.numerics in Numerics
    assert get_pass(name) == get_pass(name), "two with the same options are the same"


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_is_documented_with_before_and_after(name: str) -> None:
    text = inspect.getdoc(kind(name)) or ""
    assert re.match(r"[A-Z].*\.$", text.splitlines()[0]), "one sentence first"
    before, after = text.find("Before:\n"), text.find("After:\n")
    assert 0 < before < after


@pytest.mark.parametrize("name", PASSES)
def test_options_have_defaults_and_explanations(name: str) -> None:
    source = inspect.getsource(kind(name))
    for option in fields(kind(name)):
        assert re.search(rf'^    {option.name}: .*\n    """', source, re.MULTILINE), option.name


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_has_its_own_test_file(name: str) -> None:
    module = PASSES[name].partition(":")[0].rsplit(".", 2)
    family, stem = module[1], module[2]
    assert (ROOT / "tests" / "passes" / family / f"test_{stem}.py").exists()


@pytest.mark.parametrize(
    "family", ["adapters", "cleanup", "folding", "fusion", "precision", "pruning", "quantization"]
)
def test_a_family_says_what_its_modules_are_for(family: str) -> None:
    text = import_module(f"burnish.passes.{family}").__doc__ or ""
    folder = ROOT / "passes" / family
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    # A pass in the file of its name needs no more than its name.
    plain = {name.replace("-", "_") for name in PASSES}
    assert modules - plain <= set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", PASSES)
def test_rules_have_unique_names_and_real_opsets(name: str) -> None:
    for context in CONTEXTS:
        rules = get_pass(name).rules(context)
        assert all(isinstance(rule, Rule) for rule in rules)
        names = [rule.name for rule in rules]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", rule) for rule in names)
        assert all(1 <= rule.since <= 26 for rule in rules)
    if isinstance(get_pass(name), RulePass):
        assert any(get_pass(name).rules(context) for context in CONTEXTS)


@pytest.mark.parametrize("name", PASSES)
def test_an_empty_graph_stays_empty(name: str) -> None:
    for context in CONTEXTS:
        assert not get_pass(name).run(Graph(opsets={"": 26}), context).changed


def test_an_unknown_pass_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="recognise-gelu"):
        get_pass("recognize-gelu")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_passes_that_exist(name: str) -> None:
    steps = preset(name)
    assert [step.name for step in steps] == PRESETS[name]()
    assert (PRESETS[name].__doc__ or "").endswith(".")


def test_every_pass_is_in_some_preset() -> None:
    assert {name for names in PRESETS.values() for name in names()} == set(PASSES)


def test_an_unknown_preset_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="default"):
        preset("defaults")


def test_presets_grow() -> None:
    sizes = [set(PRESETS[name]()) for name in ("minimal", "default", "max")]
    assert sizes[0] < sizes[1] <= sizes[2]


def test_sizes_and_opset_reach_their_passes() -> None:
    steps = {step.name: step for step in preset("default", shapes={"x": [1, 2]}, opset=23)}
    assert steps["freeze-input-shapes"].shapes == {"x": (1, 2)}  # type: ignore[attr-defined]
    assert steps["upgrade-opset"].version == 23  # type: ignore[attr-defined]
    assert "upgrade-opset" not in {step.name for step in preset("default")}
    wide = {step.name: step for step in preset("max")}["fold-constants"]
    assert wide.max_bytes > get_pass("fold-constants").max_bytes  # type: ignore[attr-defined]
