"""Documents of benches that never ran: real graphs and rewrites, made-up figures."""

from __future__ import annotations

import math
import random

from burnish.bench.document import (
    Ceiling,
    Column,
    Document,
    Fidelity,
    Fired,
    Interval,
    Kernel,
    Metric,
    Model,
    Node,
    Step,
    Variant,
    Verdict,
    View,
)
from burnish.bench.graph_parts import nodes
from burnish.explanation import Explanation
from burnish.ir import Graph

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;$x^2$\u202e\x07\uffff"
"""A name that wants to be more than a name."""


def explained(graph: Graph, found: Explanation, *, seed: int = 0) -> Document:
    """A document of a real model and what passes did to it."""
    fired = [
        Fired(pass_name=s.name, rule=f.rule, sources=list(f.provenance))
        for s in found.sections
        for f in s.fired
    ]
    missed = [
        Fired(pass_name=s.name, rule=m.rule, sources=list(m.provenance), reason=m.reason)
        for s in found.sections
        for m in s.missed
        if m.rule not in found.plain
    ]
    passes = {s.name: s.removed for s in found.sections}
    return figured(nodes(graph), nodes(found.result), passes, fired, missed, seed=seed)


def synthetic(operators: int = 600, passes: int = 60, *, seed: int = 0) -> Document:
    """A residual network of as many operators and passes."""
    rng = random.Random(seed)
    kinds = ("Conv", "BatchNormalization", "Relu", "MatMul", "Add", "Transpose", "Softmax")
    before = [
        Node(
            name=f"/stage{n // 50}/block{n // 7}/{kinds[n % 7].lower()}_{n}/{kinds[n % 7]}",
            op_type=kinds[n % 7],
            inputs=[f"v{n - 1}", *([f"v{n - 8}"] if n % 7 == 4 and n > 8 else [])],
            outputs=[f"v{n}"],
            constant_bytes=rng.randrange(400_000) if kinds[n % 7] in ("Conv", "MatMul") else 0,
            flops=rng.random() * 1e8,
            sources=[f"/stage{n // 50}/block{n // 7}/{kinds[n % 7].lower()}_{n}/{kinds[n % 7]}"],
        )
        for n in range(operators)
    ]
    after, fired = [], []
    for n, node in enumerate(before):
        if node.op_type == "BatchNormalization":
            continue
        sources = [node.name]
        if node.op_type == "Conv" and n + 1 < operators:
            sources.append(before[n + 1].name)
            fired.append(Fired(pass_name="pass-03", rule="conv-batch-norm", sources=sources))
        follower = {f"v{n}": f"v{n + 1}"} if len(sources) > 1 else {}
        after.append(node.model_copy(update={
            "sources": sources, "outputs": [follower.get(name, name) for name in node.outputs],
        }))  # fmt: skip
    missed = [
        Fired(pass_name=f"pass-{n % passes:02}", rule=f"rule-{n % 5}", sources=[node.name],
              reason=f"the value is read {n % 4 + 2} times")
        for n, node in enumerate(before) if n % 3 == 0
    ]  # fmt: skip
    names = {f"pass-{n:02}": rng.choice([0, 0, 1, 12]) for n in range(passes)}
    return figured(before, after, names, fired, missed, seed=seed)


def figured(
    before: list[Node], after: list[Node], passes: dict[str, int], fired: list[Fired],
    missed: list[Fired], *, seed: int = 0,
) -> Document:  # fmt: skip
    """A document whose graphs and rewrites are given and whose figures are drawn by chance."""
    rng = random.Random(seed)
    names = list(passes)
    active = {f.pass_name for f in fired} | {n for n in names if passes[n]}
    time, base = 11.0e-3, before
    variants = [_variant("0" * 12, [], time, len(base), before, rng)]
    steps: list[Step] = []
    gains = {name: 1 + max(-0.03, rng.gauss(0.02, 0.04)) for name in names if name in active}
    for number, name in enumerate(names):
        previous = variants[-1].id
        if name not in active:
            steps.append(_step("cumulative", name, previous, previous, None, 0, "same"))
            continue
        time /= gains[name]
        identity = f"{number + 1:012x}"
        share = (number + 1) / len(names)
        operators = round(len(before) + share * (len(after) - len(before)))
        variants.append(_variant(identity, names[: number + 1], time, operators, after, rng))
        steps.append(_step("cumulative", name, identity, previous, gains[name], passes[name]))
    whole = variants[-1]
    views: tuple[View, View] = ("without", "alone")
    for view in views:
        for name in names:
            gain = gains.get(name)
            other = None if gain is None else 1 + (gain - 1) * rng.uniform(0.5, 1.2)
            pair = (whole.id, variants[0].id)
            verdict: Verdict | None = "same" if gain is None else None
            steps.append(_step(view, name, *pair, other, passes[name], verdict))
    variants = [_relative(variant, whole) for variant in variants]
    return Document(
        command=["burnish", "bench", "models/recogniser.onnx", "--threads", "2", "--report",
                 "out file.html"],
        environment={
            "cpu": "AMD EPYC 9R14", "cores": 2, "system": "Linux 6.1", "date": "2026-11-22",
            "versions": {"burnish": "0.1.0", "onnxruntime": "1.23.2", "tvm": "0.27.0"},
        },
        model=Model(path="models/recogniser.onnx", sha256="ab" * 32, opset=17,
                    inputs={"x": ["batch", 3, 48, None]}, outputs=["softmax_11.tmp_0"]),
        engine="tvm", threads=2, preset="default", shapes={"x": [1, 3, 48, 320]},
        whole=whole.id, cleanup=variants[min(1, len(variants) - 1)].id, original=variants[0].id,
        variants=variants, steps=steps, columns=_columns(whole, rng),
        before=before, after=after, fired=fired, missed=missed,
        kernels=_kernels(after, rng),
        ceiling=Ceiling(threads=2, peaks={"float32": 2.3e11, "bfloat16": 4.4e11},
                        bandwidths={"L2": 3.1e11, "L3": 1.2e11, "memory": 3.2e10}),
        seconds=412.0,
    )  # fmt: skip


def _variant(
    identity: str, passes: list[str], time: float, operators: int, graph: list[Node],
    rng: random.Random,
) -> Variant:  # fmt: skip
    size = sum(node.constant_bytes for node in graph)
    return Variant(
        id=identity, passes=passes, operators=operators, parameters=size // 4, constant_bytes=size,
        flops=sum(node.flops or 0 for node in graph), compile_seconds=rng.uniform(8, 12),
        artifact_bytes=size + 600_000, compressed_bytes=round(size * 0.92) + 200_000,
        arena_bytes=2_400_000, latency=around(time, 0.01), blocks=24,
        fidelity=[Fidelity(output="softmax_11.tmp_0", error=1.3e-6 if passes else 0.0, kl=2.2e-9,
                           top1=1.0, sqnr=121.0 if passes else None)],
        metrics=[
            Metric(name="exact match", higher_is_better=True, items=1000,
                   value=Interval(value=0.914, low=0.8955, high=0.9303),
                   difference=Interval(value=0.0, low=-0.001, high=0.001) if passes else None),
            Metric(name="character error rate", higher_is_better=False, items=1000,
                   value=Interval(value=0.0213, low=0.0176, high=0.0254),
                   difference=Interval(value=0.0, low=-0.0004, high=0.0004) if passes else None),
        ] if identity == "0" * 12 or len(passes) > 10 else [],
    )  # fmt: skip


def _relative(variant: Variant, whole: Variant) -> Variant:
    assert variant.latency is not None
    assert whole.latency is not None
    ratio = whole.latency.value / variant.latency.value
    return variant.model_copy(update={"ratio": around(ratio, 0.008)})


def _step(
    view: View, name: str, variant: str, against: str, gain: float | None, operators: int,
    verdict: Verdict | None = None,
) -> Step:  # fmt: skip
    if verdict is None:
        assert gain is not None
        verdict = "faster" if gain > 1.008 else "slower" if gain < 0.992 else "noise"
    return Step(
        view=view, name=name, variant=variant, against=against, operators=operators,
        verdict=verdict, speedup=None if gain is None else around(gain, 0.008),
    )  # fmt: skip


def around(value: float, share: float) -> Interval:
    """An interval that is ``share`` of its value to each side."""
    return Interval(value=value, low=value * (1 - share), high=value * (1 + share))


def _columns(whole: Variant, rng: random.Random) -> list[Column]:
    assert whole.latency is not None
    factors = {"onnxruntime": 1.21, "onnxruntime without ConvActivationFusion": 1.34,
               "openvino": 1.05, "onnxslim": 1.19}  # fmt: skip
    columns = [
        Column(name=name, version="1.23.2", latency=around(whole.latency.value * factor, 0.012),
               ratio=around(factor, 0.01), operators=400, file_bytes=10_900_000)
        for name, factor in factors.items()
    ]  # fmt: skip
    failed = Column(name="onnxsim", version="0.8.1", failure="its result is not equivalent")
    return [*columns, failed]


def _kernels(graph: list[Node], rng: random.Random) -> list[Kernel]:
    kernels = []
    for number, node in enumerate(graph[:120]):
        flops = node.flops or 0.0
        size = node.constant_bytes + rng.uniform(2e4, 2e6)
        bound = max(flops / 2.3e11, size / 1.2e11)
        kernels.append(
            Kernel(
                name=f"fused_{node.op_type.lower().replace(':', '_')}_{number}",
                operators=[node.op_type], sources=node.sources,
                seconds=bound / rng.uniform(0.35, 0.97), share=0.0, flops=flops, bytes=size,
                bound_seconds=bound,
                bound_by="arithmetic" if flops / 2.3e11 >= bound else "L3",
            )
        )  # fmt: skip
    total = math.fsum(kernel.seconds for kernel in kernels) or 1.0
    return [kernel.model_copy(update={"share": kernel.seconds / total}) for kernel in kernels]
