from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.building.config import LARGEST, find, read, schema
from burnish.errors import InvalidInput, UsageError

DOCS = Path(__file__).resolve().parents[2] / "docs"
WHOLE = """
[defaults]
threads = 2
tune = "off"
budgets = { arena = "3 MB", min-speedup = 1.1 }

[models.reader]
path = "in/reader.onnx"
output = "out/reader.burnish"
input-shapes = [{ x = [1, 3] }, { x = [2, 3] }]
skip = ["merge-slices"]
optional = { merge-branches = 1.02 }
set.fold-constants.max_bytes = 1000
threads = 1
eval = "tasks:READER"
budgets = { size = 12_000_000, max-drop = 0.5 }

[models.tagger]
path = "tagger.onnx"
output = "out/tagger.onnx"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "burnish.toml"


def test_options_of_a_model_come_before_those_of_all(file: Path) -> None:
    file.write_text(WHOLE)
    config = read(file)
    reader, tagger = config.options("reader"), config.options("tagger")
    assert (reader.threads, reader.tune) == (1, "off")
    assert reader.set_ == {"fold-constants": {"max_bytes": 1000}}
    assert reader.budgets is not None
    assert reader.budgets.size == 12_000_000
    assert reader.budgets.min_speedup == 1.1
    assert tagger.budgets is not None
    assert tagger.budgets.size is None


def test_defaults_of_artifacts_are_not_for_onnx(file: Path) -> None:
    file.write_text(WHOLE)
    tagger = read(file).options("tagger")
    assert (tagger.threads, tagger.tune) == (None, None)
    assert tagger.budgets is not None
    assert (tagger.budgets.arena, tagger.budgets.min_speedup) == (None, 1.1)


def test_pyproject_holds_the_same_tables(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.burnish.models.m]\npath = "a.onnx"\noutput = "b.onnx"\n')
    assert read(path).options("m").path == "a.onnx"


def test_the_nearest_file_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "burnish.toml").touch()
    (inner / "pyproject.toml").write_text("[project]\n")
    assert find(inner) == tmp_path / "burnish.toml"
    (inner / "pyproject.toml").write_text("[tool.burnish]\n")
    assert find(inner) == inner / "pyproject.toml"
    (inner / "burnish.toml").touch()
    assert find(inner) == inner / "burnish.toml"


def test_no_file_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no burnish.toml in .* or above it"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("treads = 2", "models.m.treads: unknown key 'treads'; did you mean threads"),
        ("budgets = { sise = 3 }", "models.m.budgets.sise: unknown key 'sise'; did you mean size"),
        ("input_shapes = { x = [1] }", "unknown key 'input_shapes'; did you mean input-shapes"),
        ('threads = "2"', "models.m.threads should be a valid integer, not '2'"),
        ("threads = 0", "models.m.threads should be greater than or equal to 1, not 0"),
        ("threads = true", "models.m.threads should be a valid integer, not True"),
        ('tune = "on"', "models.m.tune should be a valid number or 'off', not 'on'"),
        ('precision = "fp16"', "models.m.precision should be 'f32' or 'bf16', not 'fp16'"),
        ("set = { a = 3 }", "models.m.set.a should be a valid table, not 3"),
        ("budgets = 3", "models.m.budgets should be a valid table, not 3"),
        ('input-shapes = { x = [1, "b"] }', "models.m.input-shapes.x.1 should be a valid integer"),
        ('skip = "a,b"', "models.m.skip should be a valid list, not 'a,b'"),
        ("budgets = { max-drop = -1 }", "budgets.max-drop should be greater than or equal to 0"),
        ("budgets = { min-speedup = nan }", "budgets.min-speedup should be"),
        ("tolerance = 2", "models.m.tolerance should be less than or equal to 1, not 2"),
    ],
)
def test_a_wrong_key_or_value_is_named(file: Path, text: str, message: str) -> None:
    file.write_text(f'[models.m]\npath = "a"\noutput = "b"\n{text}\n')
    with pytest.raises(UsageError) as failure:
        read(file)
    assert message in str(failure.value)
    assert str(file) in str(failure.value)


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    file.write_text('[models.m]\npath = 1\nverfy = "end"\n[model.n]\n')
    with pytest.raises(UsageError) as failure:
        read(file)
    for part in ("models.m.path", "models.m.output is missing", "verify?", "did you mean models?"):
        assert part in str(failure.value)


@pytest.mark.parametrize("text", ["", "[models]\n"])
def test_a_file_without_models_says_what_to_add(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=r"models (is missing|lists none; add \[models.NAME\])"):
        read(file)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[models.a", "no valid TOML"),
        (b"\xff\xfe", "UTF-8"),
        (b"#" * (LARGEST + 1), "bytes"),
        (b"a = " + b"[" * 100_000, "no valid TOML"),
        (b"a = " + b"1" * 5000, "no valid TOML"),
    ],
)
def test_what_is_no_toml_is_refused(file: Path, data: bytes, message: str) -> None:
    file.write_bytes(data)
    with pytest.raises(InvalidInput, match=message):
        read(file)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidInput, match="bytes"):
        read(Path("/dev/zero"))


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        read(file)


def test_a_pyproject_without_our_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\n")
    with pytest.raises(UsageError, match="no table"):
        read(path)


@pytest.mark.parametrize("text", ["tool = 3\n", "[tool]\nburnish = 3\n"])
def test_a_pyproject_with_other_things_for_tables_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"no table|the table should be a valid table, not 3"):
        read(path)
    (tmp_path / "burnish.toml").touch()
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("tool = 3\n")
    assert find(inner) == tmp_path / "burnish.toml"


@pytest.mark.parametrize("name", ["int", "str", "bool"])
def test_a_model_may_be_called_anything(file: Path, name: str) -> None:
    file.write_text(f'[models.{name}]\npath = "a"\noutput = "b"\nthreads = "2"\n')
    with pytest.raises(UsageError, match=rf"models\.{name}\.threads should be"):
        read(file)


def test_the_schema_is_current() -> None:
    assert json.loads((DOCS / "burnish.schema.json").read_text()) == schema(), "run `make docs`"


def test_the_schema_names_every_key_by_its_alias() -> None:
    text = json.dumps(schema())
    for key in ("input-shapes", "min-speedup", "max-drop", "eval", "set"):
        assert f'"{key}"' in text
    assert "input_shapes" not in text
