"""Draw digits, signs and scribbles stroke by stroke, in other handwriting than MNIST's.

Each digit has a few skeletons, its usual forms, in a unit square with y down. A drawing is a
skeleton that is randomly bent, slanted and scaled, and drawn with a pen of random width. Skeletons
and ranges were chosen by eye.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.float64]
Points = NDArray[np.float64]
Skeleton = tuple[tuple[tuple[float, float], ...], ...]

HEIGHT = 112  # pixels of the longer side of a drawing's strokes, without the pen's width
_FINE = 3  # supersampling: drawings are drawn this many times larger, for smooth edges
_POINTS = 12  # points per segment of a smooth line
# Standard deviations in the unit square: of the grid that bends a drawing, and of each point.
_DEVIATION, _STRAIGHT_DEVIATION, _JITTER = 0.022, 0.005, 0.018
_PENS = (0.035, 0.16)  # range of a pen's width, as a share of a drawing's height

_DIGITS: dict[int, tuple[Skeleton, ...]] = {
    0: (
        (((0.5, 0), (0.15, 0.2), (0.05, 0.55), (0.25, 0.95), (0.6, 0.98), (0.9, 0.6), (0.85, 0.2),
          (0.5, 0)),),
        (((0.6, 0.04), (0.2, 0.15), (0.1, 0.6), (0.4, 1), (0.8, 0.8), (0.9, 0.3), (0.55, 0),
          (0.4, 0.1)),),
    ),
    1: (
        (((0.5, 0), (0.5, 0.5), (0.48, 1)),),
        (((0.55, 0), (0.5, 0.5), (0.45, 1)),),
        (((0.3, 0.22), (0.45, 0.12), (0.56, 0)), ((0.56, 0), (0.55, 0.5), (0.54, 1))),
        (((-0.25, 0.5), (0.2, 0.25), (0.56, 0)), ((0.56, 0), (0.55, 0.5), (0.54, 1))),
        (((-0.1, 0.35), (0.3, 0.2), (0.56, 0)), ((0.56, 0), (0.55, 0.5), (0.54, 1)),
         ((0.1, 1), (0.5, 1), (1, 0.99))),
    ),
    2: (
        (((0.1, 0.25), (0.3, 0.02), (0.7, 0.02), (0.88, 0.28), (0.6, 0.6), (0.1, 0.97)),
         ((0.1, 0.97), (0.5, 0.95), (0.95, 0.97))),
        (((0.12, 0.2), (0.45, 0), (0.85, 0.2), (0.7, 0.55), (0.3, 0.88), (0.12, 0.95), (0.12, 0.82),
          (0.35, 0.82), (0.6, 0.98), (0.95, 0.9)),),
    ),
    3: (
        (((0.12, 0.12), (0.45, 0), (0.82, 0.15), (0.75, 0.38), (0.42, 0.47)),
         ((0.42, 0.47), (0.85, 0.58), (0.88, 0.85), (0.5, 1), (0.08, 0.87))),
        (((0.1, 0.05), (0.45, 0.03), (0.85, 0.03)), ((0.85, 0.03), (0.65, 0.22), (0.45, 0.42)),
         ((0.45, 0.42), (0.85, 0.55), (0.85, 0.88), (0.45, 1), (0.08, 0.9))),
    ),
    4: (
        (((0.25, 0), (0.18, 0.3), (0.08, 0.6)), ((0.08, 0.6), (0.5, 0.6), (0.95, 0.58)),
         ((0.72, 0.15), (0.7, 0.6), (0.68, 1))),
        (((0.7, 0), (0.4, 0.3), (0.05, 0.66)), ((0.05, 0.66), (0.5, 0.67), (0.98, 0.66)),
         ((0.7, 0), (0.7, 0.5), (0.7, 1))),
        (((0.55, 0), (0.28, 0.4), (0.05, 0.7)), ((0.05, 0.7), (0.5, 0.72), (0.95, 0.68)),
         ((0.68, 0.35), (0.58, 0.7), (0.5, 1))),
        (((0.15, 0.02), (0.12, 0.3), (0.2, 0.5), (0.5, 0.52), (0.8, 0.42)),
         ((0.85, 0), (0.8, 0.5), (0.76, 1))),
    ),
    5: (
        (((0.25, 0), (0.22, 0.2), (0.18, 0.42)),
         ((0.18, 0.42), (0.5, 0.35), (0.85, 0.5), (0.82, 0.85), (0.45, 1), (0.08, 0.88)),
         ((0.25, 0.01), (0.55, 0.02), (0.88, 0))),
        (((0.9, 0.02), (0.55, 0.02), (0.3, 0.03)), ((0.3, 0.03), (0.22, 0.25), (0.2, 0.42)),
         ((0.2, 0.42), (0.6, 0.38), (0.88, 0.62), (0.7, 0.95), (0.3, 1), (0.1, 0.85))),
    ),
    6: (
        (((0.75, 0), (0.4, 0.2), (0.12, 0.6), (0.25, 0.95), (0.6, 1), (0.88, 0.8), (0.75, 0.55),
          (0.45, 0.52), (0.15, 0.7)),),
        (((0.55, 0), (0.25, 0.35), (0.12, 0.75), (0.4, 1), (0.8, 0.88), (0.8, 0.62), (0.5, 0.52),
          (0.18, 0.72)),),
    ),
    7: (
        (((0.08, 0.05), (0.5, 0.03), (0.92, 0.03)), ((0.92, 0.03), (0.65, 0.45), (0.4, 1))),
        (((0.08, 0.06), (0.5, 0.03), (0.92, 0.02)), ((0.92, 0.02), (0.62, 0.5), (0.45, 1)),
         ((0.35, 0.5), (0.6, 0.48), (0.85, 0.46))),
        (((0.1, 0.18), (0.12, 0.04)), ((0.12, 0.04), (0.5, 0.06), (0.9, 0.03)),
         ((0.9, 0.03), (0.7, 0.4), (0.55, 1))),
    ),
    8: (
        (((0.75, 0.12), (0.4, 0), (0.18, 0.22), (0.5, 0.48), (0.85, 0.75), (0.5, 1), (0.15, 0.78),
          (0.45, 0.5), (0.8, 0.25), (0.75, 0.12)),),
        (((0.5, 0), (0.2, 0.12), (0.25, 0.38), (0.5, 0.47), (0.78, 0.35), (0.8, 0.12), (0.5, 0)),
         ((0.5, 0.47), (0.12, 0.65), (0.2, 0.95), (0.5, 1), (0.85, 0.92), (0.88, 0.65),
          (0.5, 0.47))),
    ),
    9: (
        (((0.85, 0.2), (0.55, 0), (0.18, 0.15), (0.2, 0.42), (0.5, 0.5), (0.85, 0.25)),
         ((0.85, 0.25), (0.82, 0.6), (0.75, 1))),
        (((0.85, 0.2), (0.5, 0), (0.15, 0.18), (0.25, 0.45), (0.6, 0.45), (0.85, 0.2)),
         ((0.85, 0.2), (0.9, 0.6), (0.75, 0.95), (0.35, 1), (0.05, 0.85))),
        (((0.85, 0.22), (0.5, 0), (0.15, 0.2), (0.3, 0.48), (0.7, 0.42), (0.86, 0.18)),
         ((0.86, 0.18), (0.85, 0.65), (0.6, 0.98), (0.2, 0.92))),
    ),
}  # fmt: skip


_SIGNS: tuple[Skeleton, ...] = (
    (((0, 0.55), (0.3, 1)), ((0.3, 1), (0.95, 0))),  # a tick
    (((0, 0), (1, 1)), ((1, 0), (0, 1))),  # a cross
    (((0.5, 0), (0.5, 1)), ((0, 0.5), (1, 0.5))),  # plus
    (((0.5, 0), (0, 1)), ((0, 1), (1, 1)), ((1, 1), (0.5, 0))),  # a triangle
    (((0, 0), (0, 1)), ((0, 1), (1, 1)), ((1, 1), (1, 0)), ((1, 0), (0, 0))),  # a square
    (((0.2, 1), (0.5, 0)), ((0.5, 0), (0.8, 1)), ((0.8, 1), (0, 0.4)), ((0, 0.4), (1, 0.4)),
     ((1, 0.4), (0.2, 1))),  # a star
    (((0.5, 1), (0.1, 0.5), (0, 0.2), (0.25, 0), (0.5, 0.3)),
     ((0.5, 0.3), (0.75, 0), (1, 0.2), (0.9, 0.5), (0.5, 1))),  # a heart
    (((0, 0.5), (1, 0.5)), ((0.6, 0.1), (1, 0.5)), ((1, 0.5), (0.6, 0.9))),  # an arrow
    (((0.5, 1), (0.5, 0)), ((0.1, 0.4), (0.5, 0)), ((0.5, 0), (0.9, 0.4))),  # an arrow up
    (((0, 0.45), (0, 1)), ((0, 1), (1, 1)), ((1, 1), (1, 0.45)), ((0, 0.45), (0.5, 0)),
     ((0.5, 0), (1, 0.45)), ((0, 0.45), (1, 0.45))),  # a house
    (((0.5, 0), (0, 0.5), (0.5, 1), (1, 0.5), (0.5, 0)), ((0.3, 0.3), (0.32, 0.4)),
     ((0.7, 0.3), (0.68, 0.4)), ((0.25, 0.65), (0.5, 0.8), (0.75, 0.65))),  # a face
    (((0.35, 0), (0.3, 1)), ((0.7, 0), (0.65, 1)), ((0, 0.33), (1, 0.3)), ((0, 0.7), (1, 0.67))),
    (((0, 0.3), (1, 0.3)), ((0, 0.7), (1, 0.7))),  # equals
    (((0, 0.5), (0.2, 0.2), (0.4, 0.5), (0.6, 0.8), (0.8, 0.5), (1, 0.2)),),  # a wave
)  # fmt: skip


def digit(which: int, rng: np.random.Generator, pens: tuple[float, float] = _PENS) -> Plane:
    """Draw a digit by hand; return its ink, float64 (h, w) in 0..1, about 112 pixels high.

    `pens` is the range of the pen's width, as a share of the height.
    """
    skeleton, width = _digit_skeleton(which, rng)
    return _by_hand(skeleton, width, pens, rng)


def straight_digit(
    which: int, rng: np.random.Generator, pens: tuple[float, float] = _PENS
) -> Plane:
    """Draw a digit of straight lines, as with a ruler or a mouse; otherwise as `digit`."""
    skeleton, width = _digit_skeleton(which, rng)
    return _by_hand(skeleton, width, pens, rng, deviation=_STRAIGHT_DEVIATION, join=polyline)


def _digit_skeleton(which: int, rng: np.random.Generator) -> tuple[Skeleton, float]:
    """Choose one of a digit's skeletons, and its width as a share of its height."""
    skeletons = _DIGITS[which]
    skeleton = skeletons[rng.integers(len(skeletons))]
    return skeleton, rng.uniform(0.5, 0.8) * (0.6 if which == 1 else 1)


def sign(rng: np.random.Generator) -> Plane:
    """Draw a sign that is not a digit, such as a tick, a star or a house; returns as `digit`."""
    skeleton = _SIGNS[rng.integers(len(_SIGNS))]
    return _by_hand(skeleton, rng.uniform(0.6, 1.2), (0.025, 0.12), rng)


def scribble(rng: np.random.Generator) -> Plane:
    """Draw a zigzag, a tangle, hatching, a blot, a spiral or loose strokes; returns as `digit`."""
    kind = rng.integers(6)
    if kind == 0:  # zigzag
        count = int(rng.integers(5, 14))
        across = np.linspace(0, rng.uniform(0.8, 2), count)
        up = np.where(np.arange(count) % 2, 0.0, 1.0) + rng.normal(0, 0.12, count)
        join = polyline if rng.random() < 0.5 else smooth
        strokes = [join(np.stack([across, up], 1))]
    elif kind == 1:  # tangle
        strokes = [smooth(rng.uniform(0, 1, (int(rng.integers(9, 25)), 2)))]
    elif kind == 2:  # hatching in one or two directions
        lean = rng.uniform(-0.5, 0.5)
        strokes = []
        for turn in range(int(rng.integers(1, 3))):
            for at in np.linspace(0, 1, int(rng.integers(4, 9))):
                ends = np.array([[at + lean, -0.05], [at - lean, 1.05]])
                ends = ends + rng.normal(0, 0.04, (2, 2))
                strokes.append(smooth(ends[:, ::-1] if turn else ends))
    elif kind == 3:  # blot
        angle = np.linspace(0, 2 * np.pi, 40)
        strokes = []
        for radius in np.arange(0.05, 0.5, 0.06):
            wobble = radius * (1 + 0.15 * np.sin(angle * rng.integers(2, 5) + rng.uniform(0, 6)))
            strokes.append(
                np.stack([0.5 + wobble * np.cos(angle), 0.5 + wobble * np.sin(angle)], 1)
            )
        return drawn(strokes, rng.uniform(0.1, 0.2), rng)
    elif kind == 4:  # spiral
        angle = np.linspace(0, 2 * np.pi * rng.uniform(2.2, 4.5), 120)
        radius = angle / angle[-1] / 2
        start = rng.uniform(0, 6)
        strokes = [np.stack([radius * np.cos(angle + start), radius * np.sin(angle + start)], 1)]
        strokes = [strokes[0] * (1, rng.uniform(0.6, 1.0))]
    else:  # loose strokes
        strokes = [
            smooth(rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)))
            for _ in range(int(rng.integers(4, 9)))
        ]
    return drawn(strokes, np.exp(rng.uniform(np.log(0.02), np.log(0.09))), rng)


def drawn(strokes: list[Points], pen: float, rng: np.random.Generator) -> Plane:
    """Draw lines, each (n, 2) of x and y; return their ink, float64 (h, w) in 0..1.

    `pen` is the pen's width as a share of the drawing's height. It varies by up to a quarter along
    a line, as with a pen's pressure.
    """
    every = np.concatenate(strokes)
    low, high = every.min(axis=0), every.max(axis=0)
    scale = HEIGHT * _FINE / max((high - low).max(), 1e-6)
    margin = int(pen * HEIGHT * _FINE) + 4
    width, height = (int(side) + 2 * margin for side in (high - low) * scale)
    canvas = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(canvas)
    for stroke in strokes:
        points = (stroke - low) * scale + margin
        steps = np.linspace(0, 3 * np.pi, len(points)) + rng.uniform(0, 6)
        radii = pen * HEIGHT * _FINE / 2 * (1 + rng.uniform(0, 0.25) * np.sin(steps))
        for (x, y), radius in zip(_dense(points), _dense(radii[:, None])[:, 0], strict=True):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    small = np.asarray(canvas.reduce(_FINE), np.float64) / 255
    rows, columns = np.flatnonzero(small.max(1) > 0.2), np.flatnonzero(small.max(0) > 0.2)
    return small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def polyline(points: Points) -> Points:
    """Return points on the straight lines between the given points, (m, 2)."""
    return _dense(points, _POINTS)


def smooth(points: Points) -> Points:
    """Return points on a Catmull-Rom spline through the given points, (m, 2)."""
    if len(points) < 3:
        return polyline(points)
    padded = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    t = np.linspace(0, 1, _POINTS, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        parts.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
                   + (3 * b - a - 3 * c + d) * t**3)
        )  # fmt: skip
    return np.concatenate([*parts, points[-1:]])


def by_hand(
    points: Points,
    bend: Plane,
    width: float,
    lean: float,
    rng: np.random.Generator,
    join: Callable[[Points], Points] = smooth,
) -> Points:
    """Distort a stroke as handwriting does: jitter, bend, scale to `width` and slant it.

    Parameters
    ----------
    points : float64 (n, 2)
        x and y of the stroke in the unit square.
    bend : float64 (4, 4, 2)
        Displacements in x and y on a grid over the unit square, which are interpolated bilinearly;
        the same for all strokes of one drawing.
    width
        Width of the unit square afterwards, as a share of its height.
    lean
        Displacement in x of the upper side against the lower side.
    rng
        Source of the points' jitter.
    join
        Joins the points: `smooth` or `polyline`.

    Returns
    -------
    float64 (m, 2)
        Points on the distorted stroke.
    """
    line = join(points + rng.normal(0, _JITTER, points.shape))
    at = np.clip(line, 0, 1) * 3
    weight_x = np.clip(1 - np.abs(at[:, :1] - np.arange(4)), 0, 1)
    weight_y = np.clip(1 - np.abs(at[:, 1:] - np.arange(4)), 0, 1)
    line = line + np.einsum("na,nb,abk->nk", weight_x, weight_y, bend)
    return np.stack([line[:, 0] * width - lean * (line[:, 1] - 0.5), line[:, 1]], axis=1)


def _by_hand(
    skeleton: Skeleton,
    width: float,
    pens: tuple[float, float],
    rng: np.random.Generator,
    *,
    deviation: float = _DEVIATION,
    join: Callable[[Points], Points] = smooth,
) -> Plane:
    """Distort a skeleton and draw it; `deviation` is that of the bend, see `by_hand`."""
    bend = rng.normal(0, deviation, (4, 4, 2))
    lean = rng.normal(0.05, 0.12)
    strokes = [by_hand(np.array(stroke), bend, width, lean, rng, join) for stroke in skeleton]
    return drawn(strokes, np.exp(rng.uniform(*np.log(pens))), rng)


def _dense(values: Points, times: int = 6) -> Points:
    """Interpolate linearly to `times` as many points, less those after the last one."""
    at = np.linspace(0, len(values) - 1, (len(values) - 1) * times + 1)
    known = np.arange(len(values))
    return np.stack([np.interp(at, known, column) for column in values.T], axis=1)
