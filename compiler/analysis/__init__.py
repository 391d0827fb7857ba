"""Analyses: facts about a graph that passes consult. They never change it."""

from burnish.analysis.shape_inference import Inference, Problem, infer
from burnish.analysis.value_type import ValueType

__all__ = ["Inference", "Problem", "ValueType", "infer"]
