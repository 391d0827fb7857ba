"""Checks of a model message that nothing after it could make sense of without.

One walk over every message: text is text, types exist, tensors fit their data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import AttributeProto, ModelProto, TensorProto, TypeProto

from burnish.errors import InvalidInput, UnsupportedModel
from burnish.ir.dtype import ELEMENT_TYPES
from burnish.ir.external_data import is_external, read_constant


def check_parts(proto: ModelProto, folder: Path | None) -> bool:
    """Check everything inside ``proto``; return whether a tensor lies in another file.

    Raises:
        InvalidInput: text is no UTF-8, an element type does not exist, a tensor is not what it
            declares.
        UnsupportedModel: an attribute is of a kind that we cannot represent.
    """
    external = False
    for message in walk(proto):
        if isinstance(message, TensorProto):
            _check_text(message.name, *(e.key for e in message.external_data),
                        *(e.value for e in message.external_data))  # fmt: skip
            read_constant(message, folder)
            external |= is_external(message)
            continue
        if isinstance(message, TypeProto.Tensor):
            _check_type(message)
        elif isinstance(message, AttributeProto) and message.graphs:
            raise UnsupportedModel(
                f"attribute {message.name!r} is a list of graphs, which no standard operator has; "
                "export the model without it"
            )
        for descriptor, value in message.ListFields():
            if descriptor.type == descriptor.TYPE_STRING:
                _check_text(*([value] if isinstance(value, str | bytes) else value))
    return external


def walk(root: Message) -> Iterator[Any]:
    """Every message in ``root``, in file order; tensors are leaves, since they may be large."""
    stack: list[Message] = [root]
    while stack:
        message = stack.pop()
        yield message
        if isinstance(message, TensorProto):
            continue
        children: list[Message] = []
        for descriptor, value in message.ListFields():
            if descriptor.type == descriptor.TYPE_MESSAGE:
                children += [value] if isinstance(value, Message) else list(value)
        stack += reversed(children)


def _check_text(*texts: str | bytes) -> None:
    """Refuse text that is not UTF-8, which the parser hands over as bytes."""
    for text in texts:
        if isinstance(text, bytes):
            raise InvalidInput(
                f"the model has a name or text that is not UTF-8: {text[:40]!r}; it is damaged, "
                "export it again"
            )


def _check_type(declared: TypeProto.Tensor) -> None:
    if declared.elem_type not in ELEMENT_TYPES:
        raise InvalidInput(
            f"a value has element type {declared.elem_type}, which ONNX does not define; export "
            "the model again"
        )
