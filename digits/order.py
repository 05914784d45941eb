"""Percentiles as NumPy's own to the last bit, without what NumPy imports for its."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def percentile(values: NDArray[Any], share: float | np.float64) -> Any:
    """The value below which a share of the values lies, by linear interpolation.

    `numpy.percentile` asks `numpy.unique` for places that are distinct, which imports the masked
    arrays: a twentieth of a cold start. That is all that is left out here.

    Parameters
    ----------
    values : uint8 or float32, not empty
        In any shape.
    share
        In percent. The answer is of the values' own precision, unless this is a `float64`: then it
        is one, too, as NumPy's are where it is asked for several shares.
    """
    place = (values.size - 1) * (share / 100)
    before = math.floor(place)
    after = min(before + 1, values.size - 1)
    ordered = np.partition(values.ravel(), (before, after))
    low, high = ordered[before], ordered[after]
    weight = place - before
    # From the nearer side, so that it is never beyond either.
    return high - (high - low) * (1 - weight) if weight >= 0.5 else low + (high - low) * weight
