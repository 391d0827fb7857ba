"""The process in which artifacts are run that may crash; it loads nothing that runs do not need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from burnish.backends.artifact import load_artifact
from burnish.backends.child import serve
from burnish.diagnosis.messages import RunRequest
from burnish.errors import BurnishError

Arrays = dict[str, np.ndarray]


def _run(request: RunRequest) -> list[Arrays] | str:
    """The outputs for each of the inputs, or why there are none."""
    try:
        artifact = load_artifact(request.path, verify=False)
        return [artifact.run(dict(feeds)) for feeds in request.feeds]
    except BurnishError as error:
        return str(error)


def _begin(opening: object) -> Callable[[RunRequest], list[Arrays] | str]:
    return _run


if __name__ == "__main__":
    serve(_begin)
