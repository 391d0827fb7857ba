"""The manifest of an artifact: what it computes, what it was made from, and its files.

Everything read from a file is checked here, so that the rest can trust it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias, TypeVar

from burnish.errors import InvalidInput

FORMAT = 1
NAME = "manifest.json"
MAX_RANK = 64
MAX_BYTES = 1 << 62
MAX_THREADS = 1024
"""As in `burnish.target`, which takes too much along for those who only run an artifact."""

DTYPES = frozenset(
    ["bool", "bfloat16", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)?")

T = TypeVar("T")
Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Port:
    """A tensor that passes a border: of the model, or between engines."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """-1 where only running tells."""
    buffer: int | None = None
    """Its number in the driver's table, for a region's tensors of fixed size."""
    value: int | None = None
    """Its number among the tensors whose size only running tells."""
    most: int | None = None
    """The largest that the one size of -1 can be, where kernels make the tensor and count it."""

    @property
    def room(self) -> tuple[int, ...]:
        """The shape of the memory that it needs; -1 where even that is open."""
        return self.shape if self.most is None else self.sized(self.most)

    def sized(self, count: int) -> tuple[int, ...]:
        """Its shape when the open size is ``count``."""
        return tuple(count if size < 0 else size for size in self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class Segment:
    """A part of a run: the calls first..last-1, by kernels or, if `region` is set, elsewhere."""

    first: int
    last: int
    region: str | None = None
    """The file that holds the region's ONNX model."""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()


@dataclass(frozen=True)
class EntrySpec:
    """The model for one set of input shapes."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    segments: tuple[Segment, ...]
    arena_bytes: int


@dataclass(frozen=True)
class TargetSpec:
    """What the artifact runs on."""

    name: str
    arch: str
    triple: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileSpec:
    """A file of the artifact."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All that an artifact says about itself. Measured figures are kept elsewhere."""

    target: TargetSpec
    threads: int
    entries: tuple[EntrySpec, ...]
    model: Mapping[str, Any] = field(default_factory=dict)
    """Name and SHA-256 of the ONNX model."""
    passes: tuple[Mapping[str, Any], ...] = ()
    """Name and options of each pass, in the order they ran."""
    tools: Mapping[str, Any] = field(default_factory=dict)
    """Versions of what made the artifact."""
    native: Mapping[str, Any] = field(default_factory=dict)
    """Shares, 0 to 1, of operators and FLOPs that run as kernels."""
    tolerance: float = 1e-4
    """Of the self-test: largest error relative to the largest expected magnitude."""
    precision: Mapping[str, Any] | None = None
    """What was rounded to fewer bits, and how far that moves each output; None if nothing was."""
    quantization: Mapping[str, Any] | None = None
    """Which share of the layers multiplies integers, what that loses and what was allowed; None if
    nobody asked for it."""
    pruning: Mapping[str, Any] | None = None
    """How many structures are thinner, and which share of operations and weights is left; None if
    nobody asked for it."""
    files: Mapping[str, FileSpec] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """Return the text of the file, the same for equal manifests."""
        return json.dumps(_plain(asdict(self)), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse and check the text of a manifest.

        Raises:
            InvalidInput: it is not one, or of another version, or says the impossible.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{NAME} is not JSON: {error}") from error
        root = _Reader(data, NAME)
        version = root.integer("format", 1, MAX_BYTES)
        if version != FORMAT:
            raise InvalidInput(
                f"this artifact has format {version}, and this burnish reads format {FORMAT}; "
                "compile the model again"
            )
        return cls(
            target=_target(root.child("target")),
            threads=root.integer("threads", 1, MAX_THREADS),
            entries=tuple(map(_entry, root.children("entries", at_least=1))),
            model=root.get("model", dict),
            passes=tuple(root.get("passes", list)),
            tools=root.get("tools", dict),
            native=root.get("native", dict),
            tolerance=root.number("tolerance"),
            precision=_precision(root.child("precision")) if "precision" in root.data else None,
            quantization=(
                _quantization(root.child("quantization")) if "quantization" in root.data else None
            ),
            pruning=_pruning(root.child("pruning")) if "pruning" in root.data else None,
            files={
                _file_name(name): _file(_Reader(data, f"{NAME}: files.{name}"))
                for name, data in root.get("files", dict).items()
            },
        )


def _plain(value: Any) -> Any:
    """Leave out what is not set, so that later fields do not change today's manifests."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class _Reader:
    """A JSON object under inspection, and where it stands in the file."""

    data: Any
    where: str

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise InvalidInput(f"{self.where} must be an object, not {type(self.data).__name__}")

    def get(self, key: str, kind: type[T]) -> T:
        value = self.data.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            wanted, given = kind.__name__, type(value).__name__
            raise InvalidInput(f"{self.where}: {key} must be of type {wanted}, not {given}")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        value = self.get(key, int)
        if not least <= value <= most:
            raise InvalidInput(f"{self.where}: {key} is {value}, not within {least} to {most}")
        return value

    def optional(self, key: str) -> int | None:
        return self.integer(key, 0, 1 << 31) if key in self.data else None

    def number(self, key: str) -> float:
        value = self.data.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise InvalidInput(f"{self.where}: {key} must be a number from 0 to 1")
        return float(value)

    def strings(self, key: str) -> tuple[str, ...]:
        values = self.get(key, list)
        if not all(isinstance(value, str) for value in values):
            raise InvalidInput(f"{self.where}: {key} must be a list of strings")
        return tuple(values)

    def child(self, key: str) -> _Reader:
        return _Reader(self.data.get(key), f"{self.where}: {key}")

    def children(self, key: str, at_least: int = 0) -> Sequence[_Reader]:
        items = self.get(key, list)
        if len(items) < at_least:
            raise InvalidInput(f"{self.where}: {key} is empty")
        return [_Reader(item, f"{self.where}: {key}[{i}]") for i, item in enumerate(items)]

    def all(self, key: str, parse: Callable[[_Reader], T]) -> tuple[T, ...]:
        return tuple(map(parse, self.children(key)))


def _target(reader: _Reader) -> TargetSpec:
    name, arch, triple = (reader.get(key, str) for key in ("name", "arch", "triple"))
    return TargetSpec(name, arch, triple, reader.strings("features"))


def _precision(reader: _Reader) -> Mapping[str, Any]:
    for key in ("products", "weights"):
        reader.get(key, str)
    for key in ("rounded", "eligible"):
        reader.integer(key, 0, MAX_BYTES)
    for name, error in reader.get("errors", dict).items():
        if not isinstance(error, int | float) or isinstance(error, bool):
            raise InvalidInput(f"{reader.where}: errors: {name!r} has no number")
    precision: Mapping[str, Any] = reader.data
    return precision


def _quantization(reader: _Reader) -> Mapping[str, Any]:
    for key in ("format", "loss", "bound"):
        reader.get(key, str)
    reader.integer("layers", 0, reader.integer("of", 0, MAX_BYTES))
    quantization: Mapping[str, Any] = reader.data
    return quantization


def _pruning(reader: _Reader) -> Mapping[str, Any]:
    for key in ("loss", "asked"):
        reader.get(key, str)
    reader.integer("structures", 0, reader.integer("of", 0, MAX_BYTES))
    for key in ("flops", "weights"):
        reader.number(key)
    pruning: Mapping[str, Any] = reader.data
    return pruning


def _file_name(name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise InvalidInput(f"{NAME}: files: {name!r} is no file name of an artifact")
    return name


def _file(reader: _Reader) -> FileSpec:
    return FileSpec(reader.integer("bytes", 0, MAX_BYTES), reader.get("sha256", str))


def _port(reader: _Reader) -> Port:
    shape = reader.get("shape", list)
    if len(shape) > MAX_RANK or not all(type(n) is int and -1 <= n < MAX_BYTES for n in shape):
        raise InvalidInput(f"{reader.where}: shape must be a list of sizes, not {shape!r:.80}")
    dtype = reader.get("dtype", str)
    if dtype not in DTYPES:
        raise InvalidInput(f"{reader.where}: no such dtype as {dtype!r}")
    name, buffer, value = reader.get("name", str), reader.optional("buffer"), None
    value, most = reader.optional("value"), reader.optional("most")
    if -1 in shape and value is None and most is None:
        raise InvalidInput(f"{reader.where}: a size is open, and nothing gives it")
    if most is not None and (shape.count(-1) != 1 or value is not None):
        raise InvalidInput(f"{reader.where}: not one size alone is open, of which most tells")
    return Port(name, dtype, tuple(shape), buffer, value, most)


def _segment(reader: _Reader) -> Segment:
    first = reader.integer("first", 0, 1 << 31)
    last = reader.integer("last", first, 1 << 31)
    if "region" not in reader.data:
        return Segment(first, last)
    inputs, outputs = reader.all("inputs", _port), reader.all("outputs", _port)
    for port in (*inputs, *outputs):
        if (port.buffer is None) == (port.value is None) or port.most is not None:
            raise InvalidInput(f"{reader.where}: {port.name} must have a buffer or a value")
    return Segment(first, last, _file_name(reader.get("region", str)), inputs, outputs)


def _entry(reader: _Reader) -> EntrySpec:
    segments = reader.all("segments", _segment)
    at = 0
    for segment in segments:
        if segment.first != at:
            raise InvalidInput(f"{reader.where}: segments leave a gap at call {at}")
        at = segment.last
    inputs, outputs = reader.all("inputs", _port), reader.all("outputs", _port)
    made = {port.value for segment in segments for port in segment.outputs}
    for port in (*inputs, *outputs):
        is_made = port.most is not None or port.value in made
        if -1 in port.shape and (port in inputs or not is_made):
            raise InvalidInput(f"{reader.where}: the size of {port} is open, and nothing gives it")
    return EntrySpec(inputs, outputs, segments, reader.integer("arena_bytes", 0, MAX_BYTES))
