"""ONNX Runtime as it is imported here: it reports to nobody what it runs."""

from __future__ import annotations

import os
from typing import Any

SILENCE = "ORT_DISABLE_TELEMETRY"
"""What ONNX Runtime looks for in the environment while it is imported."""


def import_onnx_runtime() -> Any:
    """Return ONNX Runtime with its telemetry off.

    Official builds otherwise write an identifier of the device and a queue of reports into the
    user's cache folder as they are imported, and send names and shapes of models to their maker
    (docs/Privacy.md of ONNX Runtime). The environment is left as it was.

    Raises:
        ImportError: it is not installed.
    """
    before = os.environ.get(SILENCE)
    os.environ[SILENCE] = "1"
    try:
        import onnxruntime
    finally:
        if before is None:
            del os.environ[SILENCE]
        else:
            os.environ[SILENCE] = before
    # Where somebody else has imported it before.
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime
