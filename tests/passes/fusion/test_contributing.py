"""The pass that CONTRIBUTING.md shows works, and so do its tests."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from burnish.passes import PASSES

TEXT = (Path(__file__).resolve().parents[3] / "CONTRIBUTING.md").read_text()
NAME, MODULE = "multiply-by-reciprocal", "burnish.passes.fusion.multiply_by_reciprocal"
PASS, TESTS = (
    textwrap.dedent(block)
    for block in re.findall(r"^ *```python\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    exec(compile(PASS, "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(PASSES, NAME, f"{MODULE}:MultiplyByReciprocal")


def shown_tests() -> dict[str, Callable[..., None]]:
    scope: dict[str, Any] = {"np": np}
    exec(compile(TESTS, "CONTRIBUTING.md", "exec"), scope)
    return {name: value for name, value in scope.items() if name.startswith("test_")}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", shown_tests())
def test_shown(name: str, request: pytest.FixtureRequest) -> None:
    test = shown_tests()[name]
    (fixture,) = test.__code__.co_varnames[: test.__code__.co_argcount]
    test(request.getfixturevalue(fixture))


def test_more_near_misses_than_matches() -> None:
    assert TESTS.count("(misses)") > TESTS.count("(fires)")
