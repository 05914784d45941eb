"""Line grouping: arrange glyph candidates in text lines, in reading order.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from digits.recognition.glyphs import Glyph

Boxes = NDArray[np.float64]

# All chosen by eye on development pictures. Lengths are in heights of a digit.
_FLAT = 0.6  # share of a glyph's width that is the least height it is counted with
_TALL = 0.5  # height from which a glyph can start a line; smaller ones are signs
_BESIDE = 0.3  # vertical overlap, share of the lower glyph's height: the two are in one line
_LAST = 3  # glyphs at the end of a line with which the next glyph's overlap is compared
_NEAR = 1.2  # distance from a line up to which a small glyph joins it
_ALIKE = 0.4  # difference of the logarithms of two heights up to which they are of equal size
_NEXT = 4.0  # horizontal distance of neighbours in a line at most; vertically it is `_FLAT`


def text_lines(glyphs: Sequence[Glyph], sure: Sequence[bool]) -> list[list[Glyph]]:
    """Group glyphs to text lines, from top to bottom, each from left to right.

    Lines may slant. From left to right, each tall glyph joins the line whose last glyphs it
    overlaps most vertically, or starts a new one. Each small glyph then joins the nearest line, as
    a sign. Small glyphs that are far from every line form lines among themselves.

    Parameters
    ----------
    glyphs
        The candidates, in any order.
    sure
        Whether each one is likely a digit; these determine the height of a digit.
    """
    if not glyphs:
        return []
    boxes = np.array([glyph.box for glyph in glyphs])
    middle, size = (boxes[:, 2:] + boxes[:, :2]) / 2, boxes[:, 2:] - boxes[:, :2]
    height = np.maximum(size[:, 1], _FLAT * size[:, 0])
    known = np.asarray(sure, np.bool_)
    usual = float(np.median(height[known] if known.any() else height))
    angle = _slant(middle, height)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x, y = (middle @ turned).T
    tall = height >= _TALL * usual
    if not tall.any():
        tall = height == height.max()
    lines: list[list[int]] = []
    for one in np.flatnonzero(tall)[np.argsort(x[tall], kind="stable")]:
        shares = [
            max(_shared(y[one], y[other], size[one, 1], size[other, 1]) for other in line[-_LAST:])
            for line in lines
        ]
        if shares and max(shares) > _BESIDE:
            lines[int(np.argmax(shares))].append(int(one))
        else:
            lines.append([int(one)])
    joined = [list(line) for line in lines]
    left = []
    for one in np.flatnonzero(~tall):
        apart = [
            float(
                (_distance(middle[one], size[one], middle[line], size[line]) / height[line]).min()
            )
            for line in lines
        ]
        if min(apart) < _NEAR:
            joined[int(np.argmin(apart))].append(int(one))
        else:
            left.append(int(one))
    places = {id(glyph): place for place, glyph in enumerate(glyphs)}
    smaller = text_lines([glyphs[one] for one in left], [bool(known[one]) for one in left])
    joined += [[places[id(glyph)] for glyph in line] for line in smaller]
    joined.sort(key=lambda line: float(np.median(y[line])))
    return [[glyphs[one] for one in sorted(line, key=lambda one: x[one])] for line in joined]


def _slant(middle: Boxes, height: NDArray[np.float64]) -> float:
    """Return the median direction from glyphs to right neighbours of equal size, radians."""
    angles = []
    for (x, y), own in zip(middle, height, strict=True):
        across, down = middle[:, 0] - x, middle[:, 1] - y
        beside = (across > 0) & (across < _NEXT * own) & (np.abs(down) < _FLAT * own)
        beside &= np.abs(np.log(height / own)) < _ALIKE
        if beside.any():
            nearest = np.flatnonzero(beside)[across[beside].argmin()]
            angles.append(float(np.arctan2(down[nearest], across[nearest])))
    return float(np.median(angles)) if len(angles) > 1 else 0.0


def _shared(one: float, other: float, tall: float, other_tall: float) -> float:
    """Return the vertical overlap of two glyphs as a share of the lower one's height.

    `one` and `other` are the centres' y, `tall` and `other_tall` the heights; negative if apart.
    """
    lower, upper = (
        min(one + tall / 2, other + other_tall / 2),
        max(one - tall / 2, other - other_tall / 2),
    )
    return float((lower - upper) / max(min(tall, other_tall), 1e-6))


def _distance(one: Boxes, size: Boxes, others: Boxes, sizes: Boxes) -> NDArray[np.float64]:
    """Return the distance between a glyph's box and each of the other boxes, pixels."""
    gaps = np.maximum(np.abs(others - one) - (sizes + size) / 2, 0)
    return np.asarray(np.hypot(gaps[:, 0], gaps[:, 1]))
