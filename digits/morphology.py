"""Running extremes of a plane, in NumPy: what morphology is made of, without SciPy's 40 MB."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Number = TypeVar("_Number", np.uint16, np.float32)


def extreme(
    values: NDArray[_Scalar],
    size: int,
    best: Callable[[NDArray[_Scalar], NDArray[_Scalar]], NDArray[_Scalar]],
    axes: tuple[int, ...] = (0, 1),
) -> NDArray[_Scalar]:
    """Running maximum or minimum over `size` pixels along each axis; `size - 1` are lost of each.

    The window is doubled until it is reached, so the cost grows with the logarithm of its size.
    """
    for axis in axes:
        values = values.swapaxes(0, axis)
        reach = 1
        while reach < size:
            step = min(reach, size - reach)
            values = best(values[:-step], values[step:])
            reach += step
        values = values.swapaxes(0, axis)
    return values


def running_sums(
    values: NDArray[_Number], size: int, axes: tuple[int, ...] = (0, 1)
) -> NDArray[_Number]:
    """Running sum over `size` pixels along each axis; `size - 1` are lost of each.

    They are put together of sums over powers of two, each of two of the last: a few additions of
    whole planes, which processors do in parallel, as they cannot the links of a cumulative sum.
    """
    for axis in axes:
        values = values.swapaxes(0, axis)
        count = len(values) - size + 1
        sums, start, length = np.zeros_like(values[:count]), 0, 1
        while length <= size:
            if size & length:
                sums += values[start : start + count]
                start += length
            if 2 * length <= size:
                values = values[:-length] + values[length:]
            length *= 2
        values = sums.swapaxes(0, axis)
    return values


def padded(values: NDArray[_Scalar], rows: int, columns: int | None = None) -> NDArray[_Scalar]:
    """A plane with zeros around it: so many rows above and below, and as many columns by default.

    `numpy.pad` does the same in ten times the calls, which on small planes is most of their cost.
    """
    columns = rows if columns is None else columns
    height, width = values.shape
    wide = np.zeros((height + 2 * rows, width + 2 * columns), values.dtype)
    wide[rows : rows + height, columns : columns + width] = values
    return wide
