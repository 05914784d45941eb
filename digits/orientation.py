"""Whether a page lies on its side or upside down: the classifier compares four orientations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from digits.reading import Judge

MOST = 32  # marks that are looked at, spread over the page: bounds the time to that of 128 frames
_QUARTER_TURNS = 4
_LEAST = 1e-6  # of a probability whose logarithm is taken


def is_turned(frames: NDArray[np.float32], judge: Judge) -> bool:
    """Whether marks are likelier digits after all of them are turned by 90°, 180° or 270°.

    An orientation's log-likelihood is the sum over the marks of the logarithm of the probability
    that the frame shows a digit at all, times that of its likeliest digit. Numbers of 0, 1, 6, 8
    and 9 alone may look alike upside down, which is then not noticed.

    Parameters
    ----------
    frames : float32 (n, 28, 28)
        The marks, as the classifier is shown them upright; fewer than two give no evidence.
    judge
        The classifier.
    """
    if len(frames) < 2:
        return False
    chosen = frames[np.linspace(0, len(frames) - 1, min(MOST, len(frames))).astype(np.intp)]
    every = np.concatenate([np.rot90(chosen, turns, (1, 2)) for turns in range(_QUARTER_TURNS)])
    given = judge(np.ascontiguousarray(every))
    likely = np.log((given.digit * given.probabilities.max(axis=1)).clip(_LEAST))
    upright, *turned = likely.reshape(_QUARTER_TURNS, -1).sum(axis=1)
    return bool(max(turned) > upright)
