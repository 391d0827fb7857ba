"""Snippets of models from which the laws' examples are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

SHAPES = {"rows": (2, 3, 4), "image": (1, 4, 5, 5)}
"""Two kinds of values, so that any snippet can follow any other."""


@dataclass
class Draft:
    """A model in the making: lines of text, constants, and the values there are, by kind."""

    lines: list[str] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=lambda: {"rows": ["r"], "image": ["i"]})
    count: int = 0

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def add(self, call: str) -> str:
        """One node; returns its result."""
        result = self.name()
        self.lines.append(f"{result} = {call}")
        return result

    def constant(self, array: object, dtype: type = np.float32) -> str:
        name = self.name()
        self.constants[name] = np.asarray(array, dtype)
        return name


Snippet = Callable[[Draft, str, Callable[[int], int]], str]
"""Adds nodes after a value and returns the last result; the function draws a number below n."""


def weights(draw: Callable[[int], int], *shape: int) -> np.ndarray:
    """Numbers around one, none near zero."""
    rng = np.random.default_rng(draw(1000))
    return rng.choice([-1, 1], shape) * (0.5 + rng.random(shape))


def unary(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    kinds = ("Neg", "Tanh", "Sigmoid", "Relu", "Abs", "Erf", "Identity", "Softplus", "HardSigmoid")
    return draft.add(f"{kinds[draw(len(kinds))]}({x})")


def arithmetic(
    draft: Draft, x: str, draw: Callable[[int], int], shapes: tuple[tuple[int, ...], ...]
) -> str:
    operand = draft.constant(weights(draw, *shapes[draw(len(shapes))]))
    kind = ("Add", "Mul", "Sub", "Div")[draw(4)]
    pair = (x, operand) if kind == "Div" or draw(2) else (operand, x)
    return draft.add(f"{kind}({', '.join(pair)})")


def row_arithmetic(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    return arithmetic(draft, x, draw, ((), (1,), (4,), (1, 4), (3, 1), (2, 3, 4)))


def image_arithmetic(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    return arithmetic(draft, x, draw, ((), (1,), (4, 1, 1), (1, 4, 1, 1), (5,), (1, 1, 5, 5)))


def product(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    result = draft.add(f"MatMul({x}, {draft.constant(weights(draw, 4, 4) / 4)})")
    if draw(2):
        result = draft.add(f"Add({result}, {draft.constant(weights(draw, 4))})")
    return result


def adapter(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    down = draft.add(f"MatMul({x}, {draft.constant(weights(draw, 4, 2) / 4)})")
    up = draft.add(f"MatMul({down}, {draft.constant(weights(draw, 2, 4) / 2)})")
    if draw(3) == 0:
        return draft.add(f"Add({x}, {up})")
    base = draft.add(f"MatMul({x}, {draft.constant(weights(draw, 4, 4) / 4)})")
    return draft.add(f"Add({base}, {draft.add(f'Mul({up}, {draft.constant(0.5)})')})")


def there_and_back(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    if draw(2):
        x = draft.add(f"Transpose<perm = [1, 2, 0]>({x})")
        return draft.add(f"Transpose<perm = [2, 0, 1]>({x})")
    x = draft.add(f"Reshape({x}, {draft.constant([-1, 4], np.int64)})")
    x = unary(draft, x, draw) if draw(2) else x
    return draft.add(f"Reshape({x}, {draft.constant([2, 3, 4], np.int64)})")


def known_sizes(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    sizes = draft.add(f"Shape({x})")
    return draft.add(f"Reshape({x}, {sizes})")


def casts(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    wide = draft.add(f"Cast<to = 11>({x})")
    return draft.add(f"Cast<to = 1>({wide})")


def cut_and_joined(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    a, b = draft.name(), draft.name()
    if draw(2):
        draft.lines.append(f"{a}, {b} = Split<axis = 2>({x}, {draft.constant([1, 3], np.int64)})")
    else:
        start, middle, end, axis = (draft.constant([n], np.int64) for n in (0, 1, 4, 2))
        a, b = (draft.add(f"Slice({x}, {cut}, {axis})")
                for cut in (f"{start}, {middle}", f"{middle}, {end}"))  # fmt: skip
    if draw(2):
        a, b = (draft.add(f"Neg({part})") for part in (a, b))
    joined = draft.add(f"Concat<axis = 2>({a}, {b if draw(2) else f'{b}, {a}'})")
    ends = [draft.constant(bound, np.int64) for bound in ([0, 0], [3, 4], [1, 2])]
    return draft.add(f"Slice({joined}, {', '.join(ends)})")


def gelu(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    argument = draft.add(f"Div({x}, {draft.constant(np.sqrt(2))})")
    gate = draft.add(f"Add({draft.add(f'Erf({argument})')}, {draft.constant(1)})")
    return draft.add(f"Mul({draft.add(f'Mul({x}, {gate})')}, {draft.constant(0.5)})")


def gated(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    if draw(2):
        return draft.add(f"Mul({x}, {draft.add(f'Sigmoid({x})')})")
    shifted = draft.add(f"Add({x}, {draft.constant(3)})")
    clipped = draft.add(f"Clip({shifted}, {draft.constant(0)}, {draft.constant(6)})")
    return draft.add(f"Div({draft.add(f'Mul({x}, {clipped})')}, {draft.constant(6)})")


def rectified(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    if draw(2):
        return draft.add(f"Max({x}, {draft.add(f'Mul({x}, {draft.constant(0.2)})')})")
    positive = draft.add(f"Relu({x})")
    negative = draft.add(f"Relu({draft.add(f'Neg({x})')})")
    slope = draft.constant(weights(draw, *((), (1,))[draw(2)]))
    return draft.add(f"Sub({positive}, {draft.add(f'Mul({negative}, {slope})')})")


def layer_norm(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    axes = draft.constant([-1], np.int64)
    centered = draft.add(f"Sub({x}, {draft.add(f'ReduceMean({x}, {axes})')})")
    square = draft.add(f"Mul({centered}, {centered})")
    variance = draft.add(f"ReduceMean({square}, {axes})")
    deviation = draft.add(f"Sqrt({draft.add(f'Add({variance}, {draft.constant(0.1)})')})")
    return draft.add(f"Div({centered}, {deviation})")


def groups(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    if draw(2):
        axes = draft.constant([2, 3], np.int64)
        centered = draft.add(f"Sub({x}, {draft.add(f'ReduceMean({x}, {axes})')})")
        variance = draft.add(f"ReduceMean({draft.add(f'Mul({centered}, {centered})')}, {axes})")
        deviation = draft.add(f"Sqrt({draft.add(f'Add({variance}, {draft.constant(0.1)})')})")
        return draft.add(f"Div({centered}, {deviation})")
    parameters = ", ".join(draft.constant(weights(draw, 2)) for _ in range(2))
    x = draft.add(f"Reshape({x}, {draft.constant([0, 2, -1], np.int64)})")
    x = draft.add(f"InstanceNormalization({x}, {parameters})")
    return draft.add(f"Reshape({x}, {draft.constant([1, 4, 5, 5], np.int64)})")


def pre_norm(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    stream = product(draft, x, draw)
    parameters = ", ".join(draft.constant(weights(draw, 4)) for _ in range(1 + draw(2)))
    branch = product(draft, draft.add(f"LayerNormalization({stream}, {parameters})"), draw)
    return branch if draw(2) else draft.add(f"Add({stream}, {branch})")


def softmax(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    if draw(2):
        return draft.add(f"Softmax({x})")
    exponent = draft.add(f"Exp({draft.add(f'Tanh({x})')})")
    total = draft.add(f"ReduceSum({exponent}, {draft.constant([1], np.int64)})")
    return draft.add(f"Div({exponent}, {total})")


def attention(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    keys, queries = draft.add(f"Transpose<perm = [0, 2, 1]>({x})"), x
    if draw(2):
        keys, queries = (draft.add(f"Mul({v}, {draft.constant(0.7)})") for v in (keys, queries))
    scores = draft.add(f"MatMul({queries}, {keys})")
    scores = draft.add(f"Mul({scores}, {draft.constant(0.5)})") if draw(2) else scores
    for _ in range(1 + draw(2)):
        scores = draft.add(f"Add({scores}, {draft.constant(weights(draw, 3, 3))})")
    seen = draft.add(f"Softmax({scores})")
    if draw(2):
        seen = draft.add(f"Where({draft.add(f'IsNaN({seen})')}, {draft.constant(0)}, {seen})")
    return draft.add(f"MatMul({seen}, {x})")


def rotary(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    bounds = [draft.constant([n], np.int64) for n in (0, 2, 4, 5, -1)]
    low, high, rest = (
        draft.add(f"Slice({x}, {bounds[n]}, {bounds[n + 1]}, {bounds[-1]})") for n in range(3)
    )
    turned = draft.add(f"Concat<axis = -1>({draft.add(f'Neg({high})')}, {low})")
    whole = draft.add(f"Slice({x}, {bounds[0]}, {bounds[2]}, {bounds[-1]})")
    table = np.tile(weights(draw, 5, 2), 2 - draw(2))
    cos, sin = (draft.constant(angle(table)) for angle in (np.cos, np.sin))
    if table.shape[1] == 2:
        cos, sin = (draft.add(f"Concat<axis = -1>({angle}, {angle})") for angle in (cos, sin))
    straight, crossed = draft.add(f"Mul({whole}, {cos})"), draft.add(f"Mul({turned}, {sin})")
    return draft.add(f"Concat<axis = -1>({draft.add(f'Add({straight}, {crossed})')}, {rest})")


def projected_attention(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    queries, keys, values = (product(draft, x, draw) for _ in range(3))
    keys = draft.add(f"Transpose<perm = [0, 2, 1]>({keys})")
    weighed = draft.add(f"Softmax({draft.add(f'MatMul({queries}, {keys})')})")
    return product(draft, draft.add(f"MatMul({weighed}, {values})"), draw)


def redundant(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    written, read = weights(draw, 4, 6) / 4, weights(draw, 6, 4) / 4
    written[:, draw(6)] = 0
    read[draw(6)] = 0
    written[:, 1] = written[:, 2] * (1 + draw(2))
    hidden = draft.add(f"Relu({draft.add(f'MatMul({x}, {draft.constant(written)})')})")
    return draft.add(f"MatMul({hidden}, {draft.constant(read)})")


def branch(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    flag, a, b = draft.constant(draw(2), np.bool_), draft.name(), draft.name()
    return draft.add(
        f"If<then_branch = t () => (float[2, 3, 4] {a}) {{ {a} = Neg({x}) }}, "
        f"else_branch = e () => (float[2, 3, 4] {b}) {{ {b} = Abs({x}) }}>({flag})"
    )


def loop(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    """A state that is worked on, one that stays and one that nothing depends on."""
    rounds = draft.constant(1 + draw(60), np.int64)
    worked, kept, lost = (draft.name() for _ in range(3))
    p = draft.name()
    states = ", ".join(f"float[2, 3, 4] {p}{state}" for state in "abc")
    results = ", ".join(f"float[2, 3, 4] {p}{state}" for state in "def")
    step = ("Tanh", "Abs", "Sigmoid")[draw(3)]
    draft.lines.append(
        f"{worked}, {kept}, {lost} = Loop <body = {p} (int64 {p}i, bool {p}g, {states}) => "
        f"(bool {p}h, {results}) {{ {p}h = Identity({p}g) {p}k = {step}({p}b) "
        f"{p}d = Sub({p}a, {p}k) {p}e = Identity({p}b) {p}f = Neg({p}c) }}>"
        f"({rounds}, , {x}, {x}, {x})"
    )
    return worked


def convolution(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    forms = (
        ("Conv<pads = [1, 1, 1, 1]>", (4, 4, 3, 3)), ("Conv", (4, 4, 1, 1)),
        ("Conv<group = 2, pads = [1, 1, 1, 1]>", (4, 2, 3, 3)),
        ("ConvTranspose<pads = [1, 1, 1, 1], group = 4>", (4, 1, 3, 3)),
    )  # fmt: skip
    kind, shape = forms[draw(len(forms))]
    inputs = [x, draft.constant(weights(draw, *shape) / 8)]
    if draw(2):
        inputs.append(draft.constant(weights(draw, 4)))
    return draft.add(f"{kind}({', '.join(inputs)})")


def batch_norm(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    gamma, beta, mean = (draft.constant(weights(draw, 4)) for _ in range(3))
    variance = draft.constant(np.abs(weights(draw, 4)))
    return draft.add(f"BatchNormalization({x}, {gamma}, {beta}, {mean}, {variance})")


def padded(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    x = draft.add(f"Relu({x})") if draw(2) else x
    sizes = draft.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    x = draft.add(f"Pad({x}, {sizes})")
    if draw(2):
        return draft.add(f"Conv({x}, {draft.constant(weights(draw, 4, 4, 3, 3) / 8)})")
    pool = ("AveragePool", "MaxPool")[draw(2)]
    return draft.add(f"{pool}<kernel_shape = [3, 3]>({x})")


def branches(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    wide = draft.constant(weights(draw, 4, 4, 3, 3) / 8)
    terms = [draft.add(f"Conv<pads = [1, 1, 1, 1]>({x}, {wide})"), x]
    terms.append(draft.add(f"Conv({x}, {draft.constant(weights(draw, 4, 4, 1, 1) / 4)})"))
    return draft.add(f"Sum({', '.join(terms[draw(2) :])})")


def products(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    """Two products one after the other, or both of the same value."""
    first = draft.add(f"MatMul({x}, {draft.constant(weights(draw, 4, 4) / 4)})")
    second = draft.constant(weights(draw, 4, 4) / 4)
    if draw(2):
        return draft.add(f"MatMul({first}, {second})")
    other = draft.add(f"MatMul({x}, {second})")
    return draft.add(f"{('Add', 'Mul')[draw(2)]}({first}, {draft.add(f'Tanh({other})')})")


def sandwich(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    """Channels last and back, with what minds the order of axes or does not."""
    x = draft.add(f"Transpose<perm = [0, 2, 3, 1]>({x})")
    middle = ("Relu", "Softmax<axis = 3>", "Softmax", "LogSoftmax<axis = 1>")[draw(4)]
    x = draft.add(f"{middle}({x})")
    if draw(2):
        x = draft.add(f"Mul({x}, {draft.constant(weights(draw, 4))})")
    return draft.add(f"Transpose<perm = [0, 3, 1, 2]>({x})")


def partly_known_sizes(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    sizes = draft.add(f"Shape<start = 0, end = 2>({x})")
    flat = draft.add(f"Concat<axis = 0>({sizes}, {draft.constant([25], np.int64)})")
    x = unary(draft, draft.add(f"Reshape({x}, {flat})"), draw)
    back = draft.add(f"Concat<axis = 0>({sizes}, {draft.constant([5, 5], np.int64)})")
    return draft.add(f"Reshape({x}, {back})")


def blocks(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    apart = draft.add(f"Reshape({x}, {draft.constant([1, 2, 2, 1, 5, 5], np.int64)})")
    moved = draft.add(f"Transpose<perm = [0, 3, 4, 1, 5, 2]>({apart})")
    image = draft.add(f"Reshape({moved}, {draft.constant([1, 1, 10, 10], np.int64)})")
    return draft.add(f"SpaceToDepth<blocksize = 2>({image})")


def vectors(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    axes = draft.constant([-1], np.int64)
    total = draft.add(f"ReduceSum({draft.add(f'Mul({x}, {x})')}, {axes})")
    length = draft.add(f"Sqrt({total})")
    if draw(2):
        return draft.add(f"Div({x}, {draft.add(f'Max({length}, {draft.constant(1e-3)})')})")
    return draft.add(f"Mul({x}, {length})")


def response(draft: Draft, x: str, draw: Callable[[int], int]) -> str:
    axes = draft.constant([1], np.int64)
    squares = draft.add(f"Unsqueeze({draft.add(f'Mul({x}, {x})')}, {axes})")
    form = "count_include_pad = 1, kernel_shape = [3, 1, 1], pads = [1, 0, 0, 1, 0, 0]"
    average = draft.add(f"Squeeze({draft.add(f'AveragePool<{form}>({squares})')}, {axes})")
    scaled = draft.add(f"Mul({average}, {draft.constant(0.5)})")
    power = draft.add(
        f"Pow({draft.add(f'Add({scaled}, {draft.constant(2)})')}, {draft.constant(0.75)})"
    )
    return draft.add(f"Div({x}, {power})")


SNIPPETS: dict[str, tuple[Snippet, ...]] = {
    "rows": (
        unary, row_arithmetic, product, there_and_back, known_sizes, casts, cut_and_joined, gelu,
        gated, layer_norm, pre_norm, softmax, attention,
        projected_attention, redundant, branch, loop, adapter, rectified, products, vectors,
    ),
    "image": (
        unary, image_arithmetic, convolution, batch_norm, padded, gated, casts, known_sizes, groups,
        blocks, branches, sandwich, partly_known_sizes, rotary,
        response,
    ),
}  # fmt: skip
