"""Reads adapters as PEFT writes them: a safetensors file, and what to do with it beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from burnish.errors import InvalidInput
from burnish.ir import Array

CONFIG = "adapter_config.json"
PREFIXES = ("base_model.model.", "base_model.")
LARGEST = 1 << 36
"""Bytes of the largest file that is read."""

DTYPES: Mapping[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip
"""Types that weights have."""

PART = re.compile(
    r"^(?P<path>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|"
    r"lora_magnitude_vector)(?:\.(?!weight$|bias$)[^.]+)?(?:\.(?P<kind>weight|bias))?$"
)
"""Keys of low-rank adapters; some versions put the adapter's name after the part."""
WHOLE = re.compile(r"^(?P<path>.+?)(?:\.modules_to_save(?:\.[^.]+)?)?\.(?P<kind>weight|bias)$")
"""Keys of parameters that were trained whole."""


@dataclass
class Adapter:
    """What one file does to one module."""

    path: str
    """Of the module, in the model that was adapted."""
    keys: list[str] = field(default_factory=list)
    down: Array | None = None
    """[rank, inputs, *kernel]."""
    up: Array | None = None
    """[outputs, rank, *ones]."""
    bias: Array | None = None
    """[outputs], added by the branch."""
    magnitude: Array | None = None
    """[outputs]; the lengths that the rows of the merged weight are given."""
    whole: Array | None = None
    """A weight that takes the place of the module's own."""
    whole_bias: Array | None = None
    scale: float = 1.0
    is_table: bool = False
    """Whether the module is an embedding; its inputs are then rows."""

    @property
    def rank(self) -> int:
        """Channels of the branch, 0 if there is none."""
        return 0 if self.down is None else int(self.down.shape[0])


def read_adapters(path: Path, scale: float = 1.0) -> list[Adapter]:
    """The adapters in ``path``, with ``adapter_config.json`` beside it, times ``scale``.

    Raises:
        InvalidInput: a file is missing, malformed, truncated or hostile, or no adapter of this
            kind.
    """
    tensors = read_tensors(path)
    found: dict[str, Adapter] = {}
    for key, array in tensors.items():
        _sort(key, array, found, path)
    config: Mapping[str, Any] = {}
    if any(adapter.down is not None or adapter.up is not None for adapter in found.values()):
        config = _read_config(path.with_name(CONFIG))
    for adapter in found.values():
        _check(adapter, path)
        if adapter.down is not None:
            adapter.scale = scale * scaling(adapter.path, adapter.rank, config)
    if not found:
        raise InvalidInput(f"{path} holds no tensors")
    return sorted(found.values(), key=lambda adapter: _natural(adapter.path))


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts ``layer.10`` after ``layer.9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in text.split(".")]


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file by name, float64.

    Raises:
        InvalidInput: it is missing, malformed, truncated or hostile.
    """
    from safetensors import SafetensorError, deserialize

    try:
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder; give the .safetensors file in it")
        if path.stat().st_size > LARGEST:
            raise InvalidInput(f"{path} is larger than {LARGEST >> 30} GB")
        parts = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except (SafetensorError, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidInput(f"{path} is no sound safetensors file: {reason}") from error
    return {name: _array(path, name, part) for name, part in parts}


def _array(path: Path, name: str, part: Mapping[str, Any]) -> Array:
    dtype = DTYPES.get(part["dtype"])
    if dtype is None:
        raise InvalidInput(f"{path}: {name} holds {part['dtype']}, adapters hold floats")
    array = np.frombuffer(bytes(part["data"]), dtype).reshape(part["shape"]).astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidInput(f"{path}: {name} holds infinities or NaNs")
    return array


def _sort(key: str, array: Array, found: dict[str, Adapter], path: Path) -> None:
    """Put one tensor where it belongs."""
    name = key
    for prefix in PREFIXES:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    match = PART.match(name)
    if match is None:
        match = WHOLE.match(name)
        if match is None:
            raise InvalidInput(f"{path}: {key} is no part of an adapter that burnish knows")
        adapter = found.setdefault(match["path"], Adapter(match["path"]))
        if match["kind"] == "bias":
            adapter.whole_bias = array
        else:
            adapter.whole = array
    else:
        adapter = found.setdefault(match["path"], Adapter(match["path"]))
        part, is_bias = match["part"], match["kind"] == "bias"
        if part == "lora_magnitude_vector":
            adapter.magnitude = array.reshape(-1)
        elif is_bias and part == "lora_B":
            adapter.bias = array
        elif is_bias:
            raise InvalidInput(
                f"{path}: {key} is a bias inside of a branch, which PEFT has none of"
            )
        elif part.endswith("A"):
            adapter.down, adapter.is_table = array, "embedding" in part
        else:
            adapter.up = array
    adapter.keys.append(key)


def _check(adapter: Adapter, path: Path) -> None:
    """Make sure that the parts of ``adapter`` belong together."""
    down, up = adapter.down, adapter.up
    if down is None and up is None:
        if adapter.magnitude is not None or adapter.bias is not None:
            raise InvalidInput(f"{path}: {adapter.path} has a part of an adapter and no branch")
        return
    if down is None or up is None:
        missing = "lora_A" if down is None else "lora_B"
        raise InvalidInput(f"{path}: {adapter.path} has no {missing}")
    fits = down.ndim >= 2 and up.ndim in (2, down.ndim) and up.shape[1] == down.shape[0] > 0
    if not fits or any(size != 1 for size in up.shape[2:]):
        raise InvalidInput(
            f"{path}: lora_A {list(down.shape)} and lora_B {list(up.shape)} of {adapter.path} do "
            "not fit together"
        )
    for part in (adapter.magnitude, adapter.bias):
        if part is not None and part.size != up.shape[0]:
            raise InvalidInput(f"{path}: {adapter.path} has {up.shape[0]} outputs, not {part.size}")


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InvalidInput(
            f"there is no {path}, which says by lora_alpha how strong the adapters are: copy it "
            'there, or write {"lora_alpha": 16, "r": 8} with the numbers of the training'
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise InvalidInput(f"{path} is no JSON object")
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise InvalidInput(f"{path}: adapters of type {kind} are not merged, LORA is")
    return config


def scaling(module: str, rank: int, config: Mapping[str, Any]) -> float:
    """How strong the branch beside ``module`` is.

    Raises:
        InvalidInput: the configuration does not say, or not in numbers.
    """
    alpha = _patterned(module, config.get("alpha_pattern"), config.get("lora_alpha"))
    wanted = _patterned(module, config.get("rank_pattern"), config.get("r", rank))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise InvalidInput(f"{CONFIG}: lora_alpha is {alpha!r} for {module}, not a number")
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted != rank:
        raise InvalidInput(f"{CONFIG}: r is {wanted!r} for {module}, the weights have {rank}")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _patterned(module: str, patterns: Any, default: Any) -> Any:
    """The value of the first pattern that the end of ``module`` fits, as PEFT looks it up."""
    if not isinstance(patterns, dict):
        return default
    for pattern, value in patterns.items():
        try:
            fits = re.match(rf"(.*\.)?({pattern})$", module)
        except re.error:
            raise InvalidInput(f"{CONFIG}: {pattern!r} is no regular expression") from None
        if fits:
            return value
    return default
