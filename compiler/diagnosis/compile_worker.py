"""The process in which models are compiled that may crash the code generator."""

from __future__ import annotations

from collections.abc import Callable

from burnish.backends.artifact import Artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.child import serve
from burnish.backends.compile import CompileOptions, compile_programs, filters, is_filtered, suited
from burnish.backends.cpu.sharing_trial import SharingTrial
from burnish.backends.lowering.join import join
from burnish.backends.schedule_cache import ScheduleCache
from burnish.diagnosis.messages import Compiled, CompileRequest, Refused
from burnish.target import Target


class Compiler:
    """Compiles one graph after the other, untuned and untested."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._last: Artifact | None = None

    def compile(self, request: CompileRequest) -> Compiled | Refused:
        """Compile, and say what it came to; whatever is raised is an answer too."""
        target, options = suited([request.graph], self._target), CompileOptions()
        try:
            ways = filters(target, options)
            models, programs = compile_programs(
                [request.graph], target, options, ways[request.attempt]
            )
            programs = SharingTrial(target, ScheduleCache(target), 0.0).first_plans(programs)
            self._last = build_artifact(programs, target, [], Provenance())
        except Exception as error:  # whatever it is, it is what is looked for
            return Refused(type(error).__name__, str(error) or type(error).__name__)
        more = request.attempt + 1 < len(ways) and is_filtered(join(models), target)
        return Compiled(str(self._last.path), more)


def _begin(target: Target) -> Callable[[CompileRequest], Compiled | Refused]:
    return Compiler(target).compile


if __name__ == "__main__":
    serve(_begin)
