"""Rewriting: patterns, rules, the rewriter, the driver."""

from burnish.rewrite.allowance import Allowance
from burnish.rewrite.driver import Firing, Kind, NearMiss, RewriteResult, RuleLoop, apply_rules
from burnish.rewrite.match import Match, Miss, match, matches
from burnish.rewrite.near_miss import closest
from burnish.rewrite.pattern import Any, Const, Missing, OneOf, Op, Pattern, Scalar
from burnish.rewrite.rewriter import Rewriter
from burnish.rewrite.rule import Rule, always

__all__ = [
    "Allowance",
    "Any",
    "Const",
    "Firing",
    "Kind",
    "Match",
    "Miss",
    "Missing",
    "NearMiss",
    "OneOf",
    "Op",
    "Pattern",
    "RewriteResult",
    "Rewriter",
    "Rule",
    "RuleLoop",
    "Scalar",
    "always",
    "apply_rules",
    "closest",
    "match",
    "matches",
]
