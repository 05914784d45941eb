"""Shares of a sample, and how far the true ones may be from them."""

from __future__ import annotations

import math

_Z = 1.96  # standard deviations on each side that hold 95 % of a normal distribution


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, `hits` of at least one.

    Wilson, "Probable Inference, the Law of Succession", 1927.
    """
    share = hits / total
    middle = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    deviation = math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    reach = _Z * deviation / (1 + _Z**2 / total)
    return max(middle - reach, 0), min(middle + reach, 1)
