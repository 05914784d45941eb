"""Find one digit that plainly stands alone by a threshold, without the segmentation network.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from digits.components import connected
from digits.image import Picture
from digits.recognition.glyphs import Grey, Plane
from digits.recognition.normalisation import frame_of_ink

Box = tuple[int, int, int, int]

# Chosen by eye on the development pictures. Lengths are pixels of the decoded picture.
_SQUARE_SIDE = 8  # side of the squares that are checked for other marks
_MAX_RANGE = 0.3  # range of the grey levels in a square of bare paper, as a share of the contrast
_MIN_CONTRAST = 40  # difference of the mean grey levels of ink and paper
_MIN_HEIGHT = 14  # height of the digit
_MAX_ASPECT = 1.3  # width over height; a wider component may be two touching digits
_GRID = 16  # parts along each side of a picture, of which the paper's brightness is taken
_MAX_SPECKS = 0.02  # share of the ink that is not connected with the digit but within its box


def standing_alone(picture: Picture) -> tuple[Plane, Box] | None:
    """Find the only mark of an otherwise plain picture.

    Other marks are seen at the resolution to which the picture was decoded.

    Returns
    -------
    frame : float32 (28, 28)
        See `normalisation.frame_of_ink`.
    box : tuple of four int
        x, y, width and height of the ink in pixels of the upright full-size image.

    Or None, if the picture is not plain: it has other marks, ruling lines or deep shadows, the mark
    touches the border, is faint or very small, or may be two touching digits.
    """
    found = _alone(picture.grey)
    if found is None:
        found = _alone(_without_shading(picture.grey))
    if found is None:
        return None
    frame, box = found
    return frame, _full_size(picture, box)


def _alone(grey: Grey) -> tuple[Plane, Box] | None:
    """Find the only mark of a plain picture; its frame, and left, top, right and bottom."""
    threshold = _otsu(grey)
    dark = grey <= threshold
    ink = dark if 2 * np.count_nonzero(dark) < dark.size else ~dark
    if not ink.any():
        return None
    own, paper = float(grey[ink].mean()), float(grey[~ink].mean())
    if abs(own - paper) < _MIN_CONTRAST:
        return None
    parts = connected(ink)
    largest = int(parts.area.argmax())
    left, top, right, bottom = (
        int(side[largest]) for side in (parts.left, parts.top, parts.right, parts.bottom)
    )
    height, width = bottom - top, right - left
    inside = min(left, top) > 0 and right < grey.shape[1] and bottom < grey.shape[0]
    if not inside or height < _MIN_HEIGHT or width > _MAX_ASPECT * height:
        return None
    within = np.count_nonzero(ink[top:bottom, left:right])
    if within < np.count_nonzero(ink) or parts.area[largest] < (1 - _MAX_SPECKS) * within:
        return None
    box = left, top, right, bottom
    if not _plain_around(grey, box, _MAX_RANGE * abs(own - paper)):
        return None
    window = slice(top, bottom), slice(left, right)
    amount = np.clip((grey[window] - paper) / np.float32(own - paper), 0, 1).astype(np.float32)
    mask = parts.labels[window] == largest + 1
    return frame_of_ink(amount, mask, ink[window] & ~mask), box


def _without_shading(grey: Grey) -> Grey:
    """Subtract slow changes of the light: a quadratic surface, fitted by least squares.

    It is fitted to the medians of the parts of a coarse grid, and again without the parts that are
    far from it, which hold ink.
    """
    rows, columns = (max(1, side // _GRID) for side in grey.shape)
    parts = grey[: grey.shape[0] // rows * rows, : grey.shape[1] // columns * columns]
    parts = parts.reshape(parts.shape[0] // rows, rows, -1, columns)
    medians = np.median(parts, axis=(1, 3)).ravel()
    y, x = np.indices(parts.shape[::2]).reshape(2, -1)
    y, x = (y + 0.5) * rows / grey.shape[0], (x + 0.5) * columns / grey.shape[1]
    known, kept = _quadratic(y, x), np.ones(len(medians), np.bool_)
    for _ in range(2):
        weights, *_ = np.linalg.lstsq(known[kept], medians[kept], rcond=None)
        apart = np.abs(medians - known @ weights)
        kept = apart <= max(2.0, 2 * float(np.median(apart)))
    y, x = ((np.arange(side) + 0.5) / side for side in grey.shape)
    surface = _quadratic(*np.meshgrid(y, x, indexing="ij")) @ weights
    flat = grey - surface + surface.mean()
    return np.asarray(flat.round().clip(0, 255), np.uint8)


def _quadratic(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _otsu(grey: Grey) -> int:
    """Return the highest grey level of the darker of the two classes that differ most.

    Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Trans. SMC 1979.
    """
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    below, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nan_to_num(apart).argmax())


def _plain_around(grey: Grey, box: Box, most: float) -> bool:
    """Return whether grey levels differ by less than `most` in each square outside the box."""
    whole = np.pad(grey, [(0, -side % _SQUARE_SIDE) for side in grey.shape], mode="edge")
    rows, columns = (side // _SQUARE_SIDE for side in whole.shape)
    squares = whole.reshape(rows, _SQUARE_SIDE, columns, _SQUARE_SIDE)
    apart = squares.max(axis=(1, 3)) - squares.min(axis=(1, 3))
    left, top, right, bottom = (side / _SQUARE_SIDE for side in box)
    apart[max(0, int(top) - 1) : int(bottom) + 2, max(0, int(left) - 1) : int(right) + 2] = 0
    return bool(apart.max(initial=0) < most)


def _full_size(picture: Picture, box: Box) -> Box:
    """Convert left, top, right and bottom to x, y, width and height of the full-size image."""
    left, top, right, bottom = box
    height, width = picture.grey.shape
    x, y = left * picture.width // width, top * picture.height // height
    far_x, far_y = -(-right * picture.width // width), -(-bottom * picture.height // height)
    return x, y, far_x - x, far_y - y
