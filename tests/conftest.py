"""Golden files: text that a test produces, kept under tests/golden."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# What there is time for on every change; what goes with the slow tests; ten times as much, also
# where compiling makes examples few. CONTRIBUTING.md says when to run which.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("full", max_examples=100, deadline=None)
settings.register_profile("deep", max_examples=1000, deadline=None)
settings.load_profile("quick")

GOLDEN = Path(__file__).parent / "golden"


def pytest_configure() -> None:
    # Workers of xdist tell the width of its terminal, which messages would be wrapped to.
    os.environ.pop("COLUMNS", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compares text with the file named after the test, or rewrites it with --update-golden.

    A second argument names another file: its path under tests/golden, without the suffix.
    """
    module = Path(str(request.node.path)).stem.removeprefix("test_")
    name = request.node.name.removeprefix("test_").replace("/", "-")

    def check(text: str, place: str = f"{module}/{name}") -> None:
        path = GOLDEN / f"{place}.txt"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        if not path.exists():
            pytest.fail(f"{path} is missing; run pytest --update-golden and look at what it wrote")
        assert text == path.read_text(), f"differs from {path}"

    return check
