"""What an artifact says about its calls, written and read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.calls import CallSpec, Operand, pack_calls, unpack_calls
from burnish.backends.compile import compile_program
from burnish.backends.roofline import bounds
from burnish.errors import InvalidInput
from tests.backends.lowering.models import TARGET, lowered, model, prepared
from tests.backends.test_roofline import MACHINE

CALL = CallSpec(
    "k0_conv", 1000, "float32", ("Conv", "Relu"), ("/conv", "/relü"),
    (Operand("input", 0, 64, 64, False), Operand("weights", 128, 32, 16, False),
     Operand("arena", 0, 64, 64, True)),
)  # fmt: skip


def test_they_are_read_as_they_were_written() -> None:
    entries = [[CALL], [], [CALL, CALL]]
    assert unpack_calls(pack_calls(entries)) == entries
    assert CALL.bytes == 144


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": 7}, {"flops": -1}, {"flops": "1"}, {"sources": None}, {"sources": [1]},
        {"operands": [[1, 2]]}, {"operands": [["heap", 0, 1, 1, True]]},
        {"operands": [["arena", -1, 1, 1, True]]}, {"kind": "call"},
        {"flops": 10**400}, {"flops": True}, {"operands": [["arena", 0, 1, 10**400, True]]},
    ],
)  # fmt: skip
def test_what_is_no_call_is_refused(change: dict[str, object]) -> None:
    data = json.loads(pack_calls([[CALL]]))
    data["entries"][0][0] |= change
    with pytest.raises(InvalidInput, match="holds no calls"):
        unpack_calls(json.dumps(data).encode())


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"format": 1, "entries": 3}'])
def test_what_is_no_file_of_calls_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="holds no calls"):
        unpack_calls(text.encode())


def test_another_format_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has format 2"):
        unpack_calls(b'{"format": 2, "entries": []}')


ONES = ", ".join(["1"] * 128)
CONV = f"""g (float[1, 8, 10, 10] x, float[4, 16, 3, 3] v) => (float[1, 4, 8, 8] y)
<float[16, 8, 1, 1] w = {{{ONES}}}> {{
  [first] a = Conv(x, w)
  [gate] b = Relu(a)
  [second] y = Conv(b, v)
}}"""
LOOKUP = f"""g (int64[3] i) => (float[3, 2] y)
<float[64, 2] t = {{{ONES}}}> {{ [find] y = Gather(t, i) }}"""


def test_operations_are_counted_once_and_named() -> None:
    """The second convolution packs its computed weights first, in a call of its own."""
    work = lowered(CONV).work
    direct = 2 * 16 * 8 * 100 + 16 * 100 + 2 * 4 * 16 * 9 * 64
    assert sum(each.flops for each in work) == direct
    named = {name for each in work for name in each.sources}
    assert {"first", "gate", "second"} <= named
    packs = [each for each in work if "second" in each.sources and not each.flops]
    assert packs
    assert not any(each.operators for each in packs)
    assert [each.operators for each in work if each.flops] == [("Conv", "Relu"), ("Conv",)]


def test_products_with_padding_do_not_count() -> None:
    """Of 3 x 3 taps on 3 x 2 pixels, 7 x 4 of 9 x 6 lie inside the image."""
    ones = ", ".join(["1"] * 9)
    text = f"""g (float[1, 1, 3, 2] x) => (float[1, 1, 3, 2] y)
    <float[1, 1, 3, 3] w = {{{ones}}}> {{ y = Conv<pads = [1, 1, 1, 1]>(x, w) }}"""
    assert max(each.flops for each in lowered(text).work) == 2 * 7 * 4


def test_a_lookup_reads_rows() -> None:
    (work,) = [each for each in lowered(LOOKUP).work if "find" in each.sources]
    assert work.selects
    assert work.flops == 0


def test_a_loop_is_known_to_repeat() -> None:
    """Of its calls only those that run each round; how often that is, only the run knows."""
    text = """g (float[2] x, int64 n) => (float[2] y) {
      t = Constant<value = bool {1}>()
      y = Loop(n, t, x)<body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) {
        d = Identity(c)
        w = Sin(v)
      }>
    }"""
    _, program = compile_program(prepared(model(text)), TARGET)
    artifact = build_artifact([program], TARGET, [], Provenance())
    calls = artifact.calls()
    assert calls is not None
    kinds = [(call.kind, call.repeats) for call in calls]
    assert ("jump", True) in kinds
    assert ("kernel", True) in kinds
    assert kinds[0] == ("kernel", False)
    (sine,) = [number for number, call in enumerate(calls) if "Sin" in call.operators]
    assert calls[sine].repeats
    assert bounds(calls, MACHINE)[sine] is None
    for rounds in (1, 5):
        inputs = {"x": np.ones(2, np.float32), "n": np.array(rounds)}
        timed = artifact.profile(inputs, repeat=3)
        assert (timed[0].rounds, timed[sine].rounds) == (1, rounds)
