"""Detect pages that are turned: the classifier compares the likelihood of four orientations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from digits.recognition.classification import ClassifyFrames

MOST = 32  # glyphs that are compared at most; bounds the time to that of classifying 128 frames
_QUARTER_TURNS = 4
_LEAST = 1e-6  # least probability, so that its logarithm is finite


def is_turned(frames: NDArray[np.float32], classify_frames: ClassifyFrames) -> bool:
    """Whether the glyphs of a page are likelier digits when turned by 90°, 180° or 270°.

    The log-likelihood of an orientation is the sum over the frames of the logarithm of the
    probability that the frame shows a digit, times the probability of its likeliest digit. Numbers
    of 0, 1, 6, 8 and 9 only can be likely upside down too; these are not detected.

    Parameters
    ----------
    frames : float32 (n, 28, 28)
        The glyphs' frames, as they were classified. For fewer than two the result is False. Of
        more than `MOST`, that many are used, evenly spaced.
    classify_frames
        The classifier.
    """
    if len(frames) < 2:
        return False
    chosen = frames[np.linspace(0, len(frames) - 1, min(MOST, len(frames))).astype(np.intp)]
    every = np.concatenate([np.rot90(chosen, turns, (1, 2)) for turns in range(_QUARTER_TURNS)])
    given = classify_frames(np.ascontiguousarray(every))
    likely = np.log((given.digit * given.probabilities.max(axis=1)).clip(_LEAST))
    upright, *turned = likely.reshape(_QUARTER_TURNS, -1).sum(axis=1)
    return bool(max(turned) > upright)
