"""What is asked of compiled kernels: ratios, roofline, compile time, memory, errors."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.kernel_evidence import Kernel, KernelEvidence
from benchmarks.latency import Row
from benchmarks.latency_table import geometric_mean
from benchmarks.peer_engines import UNTUNED
from benchmarks.verdicts import Verdict, or_none
from burnish.backends.machine import LAUNCH_SECONDS
from burnish.bench.seats import OPENVINO, OPENVINO_BF16, ORT
from burnish.bench.stats import Estimate
from burnish.wording import counted

Evidences = Sequence[KernelEvidence]
Judge = Callable[[Evidences], Verdict]
GIGABYTE = 1e9
PEAK_FACTOR = 3.0
OVERHEAD = 2e6
"""Bytes that an artifact may take beyond the model's."""
EXCEPTIONS = 0.2
"""Share of a model's time that kernels below their share of the bound may take together."""


def judge_ratios(engine: str, threads: int, mean: float | None, least: float | None) -> Judge:
    """Theirs over ours: a geometric mean over all cases, and a least for each of them."""

    def judge(found: Evidences) -> Verdict:
        rows = [row for one in found for row in one.rows if row.threads == threads]
        return _ratios(rows, engine, mean, least, [one.model for one in found if one.failure])

    return judge


def judge_bf16(rows: Sequence[Row], mean: float) -> Verdict:
    """OpenVINO's time in bf16 over ours."""
    failed = [row.model for row in rows if row.failure]
    return _ratios(rows, OPENVINO_BF16.name, mean, None, failed)


def judge_bf16_stated(rows: Sequence[Row]) -> Verdict:
    """Every model compiles in bf16 and its error is known."""
    failed = [f"{row.model} ({row.failure})" for row in rows if row.error is None]
    errors = {row.model: row.error for row in rows if row.error is not None}
    listed = ", ".join(
        f"{name} {errors[name]:.0e}" for name in sorted(errors, key=errors.__getitem__)
    )
    return Verdict(not failed, f"{len(errors)} of {len(rows)}: {listed}; failed: {or_none(failed)}")


def _ratios(
    rows: Sequence[Row], engine: str, mean: float | None, least: float | None, failed: list[str]
) -> Verdict:
    found = {
        f"{row.model} {row.case}": versus.ratio
        for row in rows
        if (versus := row.versus(engine)) is not None
    }
    if not found:
        return Verdict(False, "nothing measured")
    middle = geometric_mean(list(found.values()))
    low = {name: ratio for name, ratio in found.items() if least and ratio.median < least}
    worst = min(found, key=lambda name: found[name].median)
    text = (
        f"{len(found)} cases, mean {_interval(middle)}, least {found[worst].median:.2f} ({worst})"
    )
    if low:
        text += f"; below {least}: " + ", ".join(f"{n} {r.median:.2f}" for n, r in low.items())
    if failed:
        text += f"; failed: {', '.join(failed)}"
    enough = mean is None or middle.median >= mean
    return Verdict(enough and not low and not failed, text)


def judge_native(found: Evidences) -> Verdict:
    """Every case runs without regions and with a small error."""
    rows = [row for one in found for row in one.rows]
    failed = [f"{one.model} ({one.failure})" for one in found if one.failure]
    foreign = [f"{row.model} {row.case}" for row in rows if row.native_share != 1.0]
    errors = {f"{row.model} {row.case}": row.error for row in rows if row.error is not None}
    if not errors:
        return Verdict(False, f"nothing measured; failed: {or_none(failed)}")
    text = f"{len(rows)} cases, error at most {_most(errors, '{:.0e}')}"
    text += f"; not native: {or_none(foreign)}" + (
        f"; failed: {', '.join(failed)}" if failed else ""
    )
    return Verdict(not failed and not foreign, text)


def judge_bound(share: float) -> Judge:
    """Products and convolutions run at a share of their bound; few of a model's may not."""

    def judge(found: Evidences) -> Verdict:
        every = [(one.model, kernel) for one in found for kernel in one.kernels]
        texts, over = [], 0
        for threads in sorted({kernel.threads for _, kernel in every}):
            own = [(model, kernel) for model, kernel in every if kernel.threads == threads]
            text, count = _exceptions(own, share)
            texts.append(f"{counted(threads, 'thread')}: {text}")
            over += count
        passed = bool(every) and not over and not any(one.failure for one in found)
        return Verdict(passed, "; ".join(texts))

    return judge


def _exceptions(kernels: Sequence[tuple[str, Kernel]], share: float) -> tuple[str, int]:
    """List models' kernels below a share of the bound; in how many models they hold too much."""
    slow: dict[str, list[Kernel]] = {}
    for model, kernel in kernels:
        if (kernel.of_bound or 0.0) < share:
            slow.setdefault(model, []).append(kernel)
    parts = {model: sum(kernel.share for kernel in below) for model, below in slow.items()}
    over = sum(part >= EXCEPTIONS for part in parts.values())
    good = len(kernels) - sum(map(len, slow.values()))
    text = f"{good} of {len(kernels)} kernels; too much below in {over} models"
    for model in sorted(parts, key=lambda model: -parts[model]):
        listed = [_exception(kernel, share) for kernel in slow[model]]
        text += f"; {model} {parts[model]:.0%}: {', '.join(listed)}"
    return text, over


def _exception(kernel: Kernel, share: float) -> str:
    """Name a kernel below its share of the bound, with figures and the reasons that they show."""
    calls = f" in {kernel.calls} calls" if kernel.calls > 1 else ""
    taken = f"{kernel.name} {kernel.share:.0%}, {_micro(kernel.seconds)} us{calls}"
    if kernel.bound is None:
        return f"{taken}, bound unknown"
    text = f"{taken} at {kernel.of_bound:.0%} of {kernel.bound_by}"
    reasons = reasons_of(kernel, share)
    return f"{text} ({'; '.join(reasons)})" if reasons else text


def reasons_of(kernel: Kernel, share: float) -> list[str]:
    """Say why a kernel stays below a share of its bound, as far as its figures show that.

    Args:
        kernel: one that does.
        share: of the bound that is asked for, 0 to 1.
    """
    if kernel.bound is None:
        return []
    found = []
    waiting = kernel.calls * LAUNCH_SECONDS if kernel.threads > 1 else 0.0
    if kernel.seconds - kernel.bound / share < waiting < kernel.seconds:
        found.append(f"to fork and join takes {_micro(waiting)} us")
    if kernel.bound_by == "arithmetic" and kernel.traffic is not None:
        if kernel.bound + kernel.traffic > share * kernel.seconds:
            found.append(f"beside arithmetic its bytes take {_micro(kernel.traffic)} us")
    return found


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.3g}"


def judge_seconds(what: str, limit: float) -> Judge:
    """Compiling takes less than a limit for every model; `what` is cold, warm or off."""

    def judge(found: Evidences) -> Verdict:
        seconds = {one.model: getattr(one, what) for one in found}
        return _below({name: s for name, s in seconds.items() if s is not None}, found, limit, "s")

    return judge


def judge_untuned(limit: float) -> Judge:
    """The untuned artifact takes at most `limit` times as long as the tuned one."""

    def judge(found: Evidences) -> Verdict:
        ratios = {
            f"{row.model} {row.case}": versus.ratio.median
            for one in found
            for row in one.rows
            if (versus := row.versus(UNTUNED.name)) is not None
        }
        return _below(ratios, found, limit, "times")

    return judge


def judge_peak(found: Evidences) -> Verdict:
    """The peak memory of compiling stays below three times the model and one gigabyte."""
    shares = {
        one.model: one.peak / (PEAK_FACTOR * one.model_bytes + GIGABYTE)
        for one in found
        if one.peak is not None and one.model_bytes is not None
    }
    return _below(shares, found, 1.0, "of what is allowed")


def judge_run_memory(found: Evidences) -> Verdict:
    """A run adds no more to an empty process than one of ONNX Runtime does."""
    shares = {
        one.model: one.memory / one.ort_memory
        for one in found
        if one.memory is not None and one.ort_memory
    }
    return _below(shares, found, 1.0, "of ONNX Runtime's")


def judge_size(found: Evidences) -> Verdict:
    """An artifact takes at most two megabytes beyond the model's own files."""
    sizes = {
        one.model: (one.artifact_bytes - one.model_bytes) / 1e6
        for one in found
        if one.artifact_bytes is not None and one.model_bytes is not None
    }
    return _below(sizes, found, OVERHEAD / 1e6, "MB more")


def _below(values: dict[str, float], found: Evidences, limit: float, unit: str) -> Verdict:
    """All models have a value, and none is above the limit."""
    if not values:
        return Verdict(False, "nothing measured")
    over = {name: value for name, value in values.items() if value > limit}
    missing = [one.model for one in found if one.failure]
    text = f"{len(values) - len(over)} of {len(values)}; most {_most(values, '{:.2f}')} {unit}"
    if len(over) > 1:
        text += "; over: " + ", ".join(f"{name} {value:.2f}" for name, value in over.items())
    if missing:
        text += f"; failed: {', '.join(missing)}"
    return Verdict(not over and not missing, text)


def _most(values: dict[str, float], form: str) -> str:
    worst = max(values, key=lambda name: values[name])
    return f"{form.format(values[worst])} ({worst})"


def _interval(ratio: Estimate) -> str:
    return f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


LINES: Mapping[str, tuple[str, Judge]] = {
    "ORT, 2 threads": ("1.25 on average, none under 0.95", judge_ratios(ORT.name, 2, 1.25, 0.95)),
    "ORT, 1 thread": ("1.1 on average, none under 0.95", judge_ratios(ORT.name, 1, 1.1, 0.95)),
    "OpenVINO": ("0.95 on average, 2 threads", judge_ratios(OPENVINO.name, 2, 0.95, None)),
    "roofline": ("80% of bound, else under 20% of time", judge_bound(0.8)),
    "cold compile": ("under 60 s", judge_seconds("cold", 60.0)),
    "warm compile": ("under 10 s", judge_seconds("warm", 10.0)),
    "--tune off": ("under 15 s", judge_seconds("off", 15.0)),
    "untuned": ("1.25 of the tuned latency", judge_untuned(1.25)),
    "compile memory": ("3 times model + 1 GB", judge_peak),
    "run memory": ("no more than ORT's", judge_run_memory),
    "size": ("model + 2 MB", judge_size),
    "native": ("no region, error at most 1e-4", judge_native),
    "aim: ORT": ("1.5 on average, 2 threads", judge_ratios(ORT.name, 2, 1.5, None)),
    "aim: OpenVINO": ("1.15, none under 0.9", judge_ratios(OPENVINO.name, 2, 1.15, 0.9)),
    "aim: roofline": ("90% of bound", judge_bound(0.9)),
    "aim: cold": ("compile in 30 s", judge_seconds("cold", 30.0)),
}
"""What is asked of every model: name of the line, its words, and who judges."""
