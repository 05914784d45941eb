"""Confidence intervals of shares."""

from __future__ import annotations

import math

_Z = 1.96  # standard deviations on each side that contain 95 % of a normal distribution


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of the share `hits` / `total`; `total` is at least 1.

    Wilson, "Probable Inference, the Law of Succession", 1927.
    """
    share = hits / total
    middle = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    deviation = math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    reach = _Z * deviation / (1 + _Z**2 / total)
    return max(middle - reach, 0), min(middle + reach, 1)
