"""Generated files are of the kinds that they are said to be."""

import ast
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import tomllib
import wave
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.tasks.binary_files import BINARY_FILES
from benchmarks.tasks.magika import END, FILLER, KINDS, MagikaTask, as_input, generate
from benchmarks.tasks.text_files import TEXT_FILES, Author


def made(kind: str, seed: int) -> bytes:
    author = Author(np.random.default_rng(seed))
    if kind in BINARY_FILES:
        return BINARY_FILES[kind](author)
    return TEXT_FILES[kind](author).encode()


def read_picture(content: bytes) -> bool:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        assert min(picture.size) >= 16
        return len(picture.getcolors(1 << 16) or []) > 20


def read_database(content: bytes) -> int:
    with sqlite3.connect(":memory:") as database:
        database.deserialize(content)
        ((table,),) = database.execute("SELECT name FROM sqlite_master")
        found: tuple[int] = database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return found[0]


def read_archive(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getnames()


def read_sound(content: bytes) -> int:
    with wave.open(io.BytesIO(content)) as sound:
        return sound.getnframes()


READERS = {
    "bmp": read_picture,
    "gif": read_picture,
    "gzip": gzip.decompress,
    "json": json.loads,
    "npy": lambda content: np.load(io.BytesIO(content)).size,
    "pickle": pickle.loads,
    "png": read_picture,
    "python": lambda content: ast.parse(content).body,
    "sqlite": read_database,
    "svg": lambda content: len(ElementTree.fromstring(content)),
    "tar": read_archive,
    "toml": lambda content: tomllib.loads(content.decode()),
    "wav": read_sound,
    "xml": lambda content: len(ElementTree.fromstring(content)),
    "xz": lzma.decompress,
    "zip": lambda content: zipfile.ZipFile(io.BytesIO(content)).testzip() is None,
}


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_of_that_kind_reads_it(kind: str) -> None:
    for seed in range(3):
        assert READERS[kind](made(kind, seed))


@pytest.mark.parametrize("kind", KINDS)
def test_files_differ_and_come_again(kind: str) -> None:
    contents = [generate(kind, (1, number)) for number in range(3)]
    assert len(set(contents)) == 3
    assert generate(kind, (1, 0)) == contents[0]


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 20
    assert len(set(KINDS)) == len(KINDS)


def test_the_model_knows_every_kind() -> None:
    pytest.importorskip("magika")
    from benchmarks.tasks.magika import labels

    assert set(KINDS) <= set(labels())


def test_both_ends_of_a_file() -> None:
    features = as_input(b"  ab" + bytes(5000) + b"yz\n")
    assert features.shape == (2 * END,)
    assert features.dtype == np.int32
    assert features[:3].tolist() == [*b"ab", 0]
    assert features[-3:].tolist() == [0, *b"yz"]


def test_short_files_are_filled_up_in_the_middle() -> None:
    features = as_input(b" abc ")
    assert features[:5].tolist() == [*b"abc ", FILLER]
    assert features[-5:].tolist() == [FILLER, *b" abc"]


def test_calibration_has_other_files() -> None:
    task = MagikaTask(each=1, batch=10)
    calibration = np.concatenate([feeds["bytes"] for feeds in task.calibration()])
    assert calibration.shape[0] >= 2 * len(KINDS)
    from benchmarks.tasks.magika import files

    evaluation, _ = files("evaluation", 1)
    assert not {row.tobytes() for row in calibration} & {row.tobytes() for row in evaluation}


def test_features_are_those_of_the_package() -> None:
    module = pytest.importorskip("magika.magika")
    for kind in ("python", "tar", "gif", "csv"):
        content = generate(kind, (5,))
        found = module.Magika._extract_features_from_seekable(
            module.Seekable(io.BytesIO(content)), 1024, 0, 1024, FILLER, 4096, False
        )
        assert as_input(content).tolist() == [*found.beg, *found.end]
