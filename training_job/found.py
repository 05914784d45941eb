"""Frames of what the preprocessing finds on painted pages: digits, and which, and what is none.

Frames that are drawn are cleaner than those of photographs: here are the rims, gaps and shreds that
the recogniser's own ways of telling ink from paper leave, and what they take for ink on a page that
is blank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from digits import image, preprocess
from digits.finder import Segmenter
from digits.image import Picture
from digits.layout import Piece
from digits.preprocess import Mark, Page
from training_job import photos, scenes
from training_job.data import Split
from training_job.scenes import Scene

Frames = NDArray[np.float32]

_LEVELS: tuple[photos.Level, ...] = ("medium", "hard")
_MOST = 12  # pieces looked at in each reading of a page
_SMALLEST = 10  # pixels; what is smaller shows no more than a speck
_SLIM = 0.5  # width over height up to which what is no digit may pass for a 1
_WRITTEN = 0.3  # of ink at a pixel that counts as a thing's
_WHOLE = 0.6  # of a thing that must be in a piece
_TOUCHED = 0.3  # of a thing that may be in another's piece
_OTHER = -1


@dataclass(frozen=True)
class Found:
    """What was found on pages.

    Attributes
    ----------
    digits : Split
        Frames of digits, float32 (n, 28, 28, 1), and which.
    others : float32 (m, 28, 28)
        Letters, scribbles, digits that touch, shadows and specks.
    """

    digits: Split
    others: Frames


def frames(pages: int, blanks: int, seed: int, segmenter: Segmenter, workers: Executor) -> Found:
    """Paint pages and find what is on them, a tenth of a second each.

    Parameters
    ----------
    pages
        Painted with writing; see `scenes`.
    blanks
        Painted without.
    seed
        Of all chance; another one paints other pages.
    segmenter
        The segmentation network whose glyphs are cut out.
    workers
        The processes that do it.
    """
    seeds = range(seed * pages, (seed + 1) * pages)
    written = workers.map(partial(_on_scene, segmenter), seeds, chunksize=20)
    empty = workers.map(partial(_on_blank, segmenter, seed), range(blanks), chunksize=20)
    every = [one for page in (written, empty) for found in page for one in found]
    x = np.stack([frame for frame, _ in every])
    y = np.array([truth for _, truth in every])
    digits = y != _OTHER
    return Found(Split(x[digits, ..., np.newaxis], y[digits].astype(np.uint8)), x[~digits])


def _on_scene(segmenter: Segmenter, seed: int) -> list[tuple[Frames, int]]:
    scene = scenes.scene(seed)
    height, width = scene.grey.shape
    picture = Picture(scene.grey, width, height, "PNG")
    areas = _areas(scene)
    found = []
    segmented = preprocess.segmented_pages(picture, segmenter)
    for page in (next(next(preprocess.pages(picture))), *segmented):
        for piece in _pieces(page):
            truth = _truth(piece, scene, areas)
            if truth is not None:
                found.append((page.mark(piece).frame, truth))
    return found


def _on_blank(segmenter: Segmenter, seed: int, number: int) -> list[tuple[Frames, int]]:
    rng = np.random.default_rng([seed, number, 0xB1A])
    sample = photos.blank(level=_LEVELS[number % 2], seed=int(rng.integers(2**31)))
    marks = _marks(image.decode(sample.data), segmenter)
    return [(mark.frame, _OTHER) for mark in marks if not _slim(*mark.box[2:])]


def _marks(picture: Picture, segmenter: Segmenter) -> Iterator[Mark]:
    """Yield the marks of every binarisation and segmentation of a picture."""
    pages = [page for ways in preprocess.pages(picture) for page in ways]
    for page in (*pages, *preprocess.segmented_pages(picture, segmenter)):
        for piece in _pieces(page):
            yield page.mark(piece)


def _slim(width: int, height: int) -> bool:
    return width <= _SLIM * height


def _pieces(page: Page) -> Sequence[Piece]:
    pieces = page.instances or page.pieces
    return [piece for piece in pieces[:_MOST] if max(piece.height, piece.width) >= _SMALLEST]


def _areas(scene: Scene) -> NDArray[np.intp]:
    """Pixels of what is written of no thing, of the first, of the second, and so on."""
    return np.bincount(scene.owner[scene.ink > _WRITTEN], minlength=len(scene.things) + 1)


def _truth(piece: Piece, scene: Scene, areas: NDArray[np.intp]) -> int | None:
    """Which digit a piece of a scene is, `_OTHER` if it is none, None if that cannot be said."""
    window = (slice(piece.top, piece.bottom), slice(piece.left, piece.right))
    within = np.bincount(scene.owner[window][piece.mask], minlength=len(areas))
    if within[0] > 0.8 * piece.area:
        return None if _slim(piece.width, piece.height) else _OTHER
    shares = within[1:] / areas[1:].clip(1)
    whole = np.flatnonzero(shares > _WHOLE)
    if len(whole) > 1:
        return _OTHER
    others = np.delete(shares, whole)
    if len(whole) == 0 or (others > _TOUCHED).any() or within[0] > 0.5 * piece.area:
        return None
    digit = scene.things[whole[0]]
    return _OTHER if digit is None else digit
