"""Verification: whether a rewritten graph still answers what the original answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from burnish.errors import BurnishError, GateFailed, UnsupportedModel
from burnish.ir import Array, Graph
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare, free_sizes, random_inputs, suggest_sizes
from burnish.oracle.rounding import Leeway, Roundings
from burnish.oracle.ties import Ties

Feeds: TypeAlias = Mapping[str, Array]
"""One array per graph input, by name."""
Shapes: TypeAlias = Mapping[str, Sequence[int]]
"""Shapes by input name."""

SEEDS = (0, 1, 2)


class Disagreement(GateFailed):
    """A rewritten graph is broken, or answers something else than the original."""


class Reference:
    """What the original answers on some inputs, for rewritten graphs to be compared with."""

    def __init__(
        self,
        graph: Graph,
        samples: Sequence[Feeds] | None = None,
        shapes: Shapes | None = None,
        first: Callable[[Array], Array] | None = None,
    ) -> None:
        """Run ``graph``, which must not change afterwards.

        Args:
            graph: the original.
            samples: inputs to compare on; by default random ones within legal ranges, from three
                seeds, with two sizes for every dimension that is open.
            shapes: of inputs, where the model leaves them open.
            first: what to make of each of the first random inputs, to keep them small in files.

        Raises:
            UnsupportedModel: the oracle cannot run it, so that nothing could be verified.
            UsageError: the samples or shapes do not fit the model.
        """
        self._oracle = Oracle(graph)
        self.roundings = Roundings(graph)
        """Where its outputs round floats."""
        self.ties = Ties(graph)
        """Where it rounds floats within."""
        self._inputs = [value.name for value in graph.inputs]
        self.feeds: list[Feeds] = []
        self.expected: list[Mapping[str, Any]] = []
        """Outputs by name for each of ``feeds``."""
        if samples is not None:
            self.feeds = list(samples)
            self.expected = [self._oracle.run(feeds) for feeds in self.feeds]
        else:
            one, *others = random_feeds(graph, shapes)
            if first is not None:
                one = {name: first(array) for name, array in one.items()}
            self._choose([one, *others])

    def _choose(self, candidates: Sequence[Feeds]) -> None:
        """Keep the inputs that the model takes: a size that was guessed may not suit it."""
        refusal: UnsupportedModel | None = None
        for feeds in candidates:
            try:
                self.expected.append(self._oracle.run(feeds))
            except UnsupportedModel as error:
                refusal = refusal or error
            else:
                self.feeds.append(feeds)
        if refusal is not None and not self.feeds:
            raise UnsupportedModel(
                f"the model fails on every set of random inputs, so nothing can be verified: "
                f"{refusal}; give --input-shape NAME=1,3,224,224 if a size is open, or "
                "--verify off"
            ) from refusal

    def check(self, graph: Graph, numerics: Numerics) -> float:
        """Compare ``graph`` with the original and return its largest relative error.

        Where the original quantizes what it computes, steps from one integer to the next are
        allowed for as far as moving ties accounts for them (see `Ties`).

        Raises:
            Disagreement: it breaks ``numerics`` on some input, or is no valid graph at all.
        """
        try:
            verify(graph)
            names = [value.name for value in graph.inputs]
            if names != self._inputs:
                raise Disagreement(f"the inputs are {names} instead of {self._inputs}")
            oracle = Oracle(graph)
            outcomes = [oracle.run(feeds) for feeds in self.feeds]
        except Disagreement:
            raise
        except BurnishError as error:
            raise Disagreement(str(error)) from error
        except Exception as error:  # a graph may be broken in ways that no check foresees
            raise Disagreement(
                f"the graph cannot be written as ONNX ({type(error).__name__}: {error})"
            ) from error
        return self._compare(oracle, outcomes, numerics)

    def _compare(
        self, oracle: Oracle, outcomes: Sequence[Mapping[str, Any]], numerics: Numerics
    ) -> float:
        if oracle.output_names != self._oracle.output_names:
            have, want = list(oracle.output_names), list(self._oracle.output_names)
            raise Disagreement(f"the outputs are {have} instead of {want}")
        worst = 0.0
        for number, (expected, actual) in enumerate(zip(self.expected, outcomes, strict=True)):
            comparison = compare(expected, actual, numerics)
            if not comparison:
                settled = compare(expected, self.settled(number, actual), numerics)
                if not settled:
                    raise Disagreement(str(settled))
            worst = max(worst, comparison.error)
        return worst

    def settled(self, number: int, actual: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs for the inputs of that ``number``, as expected where ties account for the rest.

        See `Ties`.
        """
        return self.ties.near(self.feeds[number], self.expected[number], actual)

    def errors(self, graph: Graph) -> dict[str, float]:
        """How far ``graph`` moves each output, relative to its largest value, at most.

        Infinitely where it has another form: other sizes, or no number in other places; not at all
        where moving ties of what the original quantizes accounts for it (see `Ties`).
        """
        oracle = Oracle(graph)
        return self.errors_of(oracle.run)

    def errors_of(self, run: Callable[[Feeds], Mapping[str, Any]]) -> dict[str, float]:
        """The same of what ``run`` answers to the inputs."""
        worst: dict[str, float] = {}
        for number, (feeds, expected) in enumerate(zip(self.feeds, self.expected, strict=True)):
            actual = self.settled(number, run(feeds))
            for each in compare(expected, actual, Numerics.LOSSY).outputs:
                error = each.error if each.equal else float("inf")
                worst[each.name] = max(worst.get(each.name, 0.0), error)
        return worst

    def check_compiled(self, run: Callable[[Feeds], Mapping[str, Any]]) -> None:
        """Compare what compiled code answers to the inputs with what the original does.

        Where an output rounds floats that compiled code computes in another order, it may be what
        rounding makes of any float that would be accepted (see `Roundings`); where floats are
        rounded within, it may be off as far as `Ties` says.

        Raises:
            Disagreement: the two differ by more than another rounding.
        """
        for feeds, expected in zip(self.feeds, self.expected, strict=True):
            actual = run(feeds)
            comparison = compare(expected, actual, Numerics.REASSOCIATES)
            if not comparison:
                near = self.roundings.near(feeds, expected, actual)
                near = self.ties.near(feeds, expected, near)
                comparison = compare(expected, near, Numerics.REASSOCIATES)
            if not comparison:
                raise Disagreement(f"the compiled model is wrong: {comparison}")

    def leeway(self, number: int) -> dict[str, Leeway]:
        """The lowest and highest values that outputs may have for the inputs of that ``number``.

        By name, for those that round computed floats or depend on some that are rounded.
        """
        feeds, expected = self.feeds[number], self.expected[number]
        return self.ties.leeway(feeds, expected) | self.roundings.leeway(feeds)

    def check_deterministic(self) -> None:
        """Make sure that the original agrees with itself.

        Raises:
            UnsupportedModel: it answers differently each time it is run.
        """
        if not self.is_deterministic():
            raise UnsupportedModel(
                "the model answers differently each time it is run on the same input, so "
                "nothing can be verified; use --verify off"
            )

    def is_deterministic(self) -> bool:
        """Whether the original, run again, agrees with itself."""
        return all(
            compare(expected, self._oracle.run(feeds), Numerics.REASSOCIATES)
            for feeds, expected in zip(self.feeds, self.expected, strict=True)
        )


def random_feeds(graph: Graph, shapes: Shapes | None = None) -> list[Feeds]:
    """Inputs from three seeds; sizes that stay open alternate between two choices.

    Raises:
        UsageError: ``shapes`` do not fit the model.
    """
    given = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    if not free_sizes(graph):
        return [random_inputs(graph, seed, shapes=given) for seed in SEEDS]
    return [random_inputs(graph, seed, _open_sizes(graph, given, seed), given) for seed in SEEDS]


def _open_sizes(graph: Graph, given: Mapping[str, Sequence[int]], seed: int) -> dict[str, int]:
    """A guess for every size that ``given`` shapes do not settle."""
    settled = {
        dim if isinstance(dim, str) else f"{value.name}.{axis}"
        for value in graph.inputs
        if value.name in given
        for axis, dim in enumerate(value.shape or ())
    }
    sizes = suggest_sizes(graph, variant=seed % 2)
    return {name: size for name, size in sizes.items() if name not in settled}
