"""Bisection: the first of many steps after which something is wrong."""

from __future__ import annotations

from collections.abc import Callable


def first_bad(is_bad: Callable[[int], bool], count: int) -> int:
    """The least number of steps after which things are bad, in log2(``count``) trials.

    Args:
        is_bad: whether they are after so many steps; taken to be false for 0 and true for
            ``count``, for neither of which it is asked. If it turns more than once, some step at
            which it turns is found.
        count: how many steps there are, at least 1.
    """
    good, bad = 0, count
    while bad - good > 1:
        middle = (good + bad) // 2
        if is_bad(middle):
            bad = middle
        else:
            good = middle
    return bad
