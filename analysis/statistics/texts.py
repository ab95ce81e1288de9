"""Numbers and names as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def p_digits(p_value: float | None, below: str = "< 0.001") -> str:
    """Return a p-value with three digits, `below` for one that these would round to 0, nothing for none.

    >>> p_digits(0.0202), p_digits(0.00001), p_digits(None)
    ('0.020', '< 0.001', '')
    """
    if p_value is None or math.isnan(p_value):
        return ""
    return below if p_value < 0.001 else f"{p_value:.3f}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
