"""Affine maps of channels: ``y = scale * x + shift``, read from operators that compute one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.passes.fusion.constants import Vector, per_channel
from burnish.rewrite import Const, Match, Miss, OneOf, Op, Pattern

NOT_PER_CHANNEL = "the constant of {} is not one number per channel"


@dataclass(frozen=True)
class Affine:
    """``scale`` and ``shift``, float64 [channels] each; None stands for ones and for zeros."""

    scale: Vector | None
    shift: Vector | None


def affine(source: Pattern) -> Pattern:
    """An operator named ``affine`` that scales and shifts the channels of ``source``."""
    factor = Const("factor")
    return OneOf(
        Op("Add|Sub", source, factor, name="affine"),
        Op("Sub", factor, source, name="affine"),
        scaling(source),
    )


def scaling(source: Pattern) -> Pattern:
    """An operator named ``affine`` that does more to the channels of ``source`` than shift them."""
    return OneOf(Op("Mul|Div", source, Const("factor"), name="affine"), batch_norm(source))


def batch_norm(source: Pattern) -> Op:
    """A BatchNormalization of ``source`` with known statistics."""
    parameters = (Const("gamma"), Const("beta"), Const("mean"), Const("variance"))
    return Op("BatchNormalization", source, *parameters, name="affine")


def read_affine(match: Match, axis: int, rank: int, channels: int) -> Affine | Miss:
    """The map that the node ``affine`` computes on ``channels`` channels along ``axis``."""
    node = match.node("affine")
    if node.op_type == "BatchNormalization":
        return _read_batch_norm(match, axis, channels)
    factor = per_channel(match["factor"], axis, rank, channels)
    if factor is None:
        return Miss(NOT_PER_CHANNEL.format(node.op_type), node)
    if node.op_type == "Mul":
        return Affine(factor, None)
    if node.op_type == "Add":
        return Affine(None, factor)
    if node.op_type == "Div":
        if not factor.all():
            return Miss("a channel is divided by zero", node)
        return Affine(1 / factor, None)
    if node.input(1) is match["factor"]:
        return Affine(None, -factor)
    return Affine(-np.ones(channels), factor)


def _read_batch_norm(match: Match, axis: int, channels: int) -> Affine | Miss:
    node = match.node("affine")
    if axis != 1:
        return Miss("BatchNormalization works on axis 1, which is not the last one here", node)
    if node.attribute("training_mode", 0) or any(value.uses for value in node.outputs[1:]):
        return Miss("BatchNormalization is in training mode", node)
    names = ("gamma", "beta", "mean", "variance")
    gamma, beta, mean, variance = (match.constant(n).numpy().astype(np.float64) for n in names)
    if any(part.shape != (channels,) for part in (gamma, beta, mean, variance)):
        return Miss(f"BatchNormalization does not have {channels} channels", node)
    scale = gamma / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)
