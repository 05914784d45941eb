"""Frames of the glyph candidates on rendered pages: labelled digits, and negatives.

Frames of drawings are cleaner than frames of photographs. Binarisation of a photographed page
leaves rims, gaps and fragments, and finds foreground on a blank page; the frames of this module
have these defects. Thresholds were chosen by hand.
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
from training_job import rendered_pages, synthetic_photos
from training_job.data import Split
from training_job.rendered_pages import RenderedPage

Frames = NDArray[np.float32]

_LEVELS: tuple[synthetic_photos.Level, ...] = ("medium", "hard")  # levels of blank pages
_MOST_CANDIDATES = 12  # glyph candidates taken from each binarisation of a page
_SMALLEST = 10  # pixels of the longer side; smaller candidates are specks
_SLIM = 0.5  # width over height; a candidate up to it may look like a 1
_INK = 0.3  # of full ink, 0 to 1; from it on a pixel belongs to a glyph
_WHOLE = 0.6  # share of a glyph's ink from which a candidate holds the glyph
_TOUCHED = 0.3  # share of another glyph's ink that a labelled candidate may hold at most
_PAPER = 0.8  # share of its area without ink from which a candidate holds no glyph
_MOSTLY_PAPER = 0.5  # share of its area without ink that a labelled candidate may have at most
_NOT_A_DIGIT = -1


@dataclass(frozen=True)
class PageFrames:
    """Frames of the glyph candidates on pages.

    Attributes
    ----------
    digits : Split
        Frames of digits, float32 (n, 28, 28, 1), and their labels.
    negatives : float32 (m, 28, 28)
        Frames of letters, scribbles, touching digits, shadows and specks.
    """

    digits: Split
    negatives: Frames


def frames(
    pages: int, blanks: int, seed: int, segmenter: Segmenter, workers: Executor
) -> PageFrames:
    """Render pages and cut their glyph candidates out; about 0.1 s of one core per page.

    Parameters
    ----------
    pages
        Number of pages with writing; see `rendered_pages`.
    blanks
        Number of pages without writing.
    seed
        Seed of all random choices; different seeds render different pages.
    segmenter
        The segmentation network, whose glyph candidates are used beside those of thresholding.
    workers
        The processes that render.
    """
    seeds = range(seed * pages, (seed + 1) * pages)
    written = workers.map(partial(_on_rendered_page, segmenter), seeds, chunksize=20)
    empty = workers.map(partial(_on_blank, segmenter, seed), range(blanks), chunksize=20)
    labelled = [one for group in (written, empty) for page in group for one in page]
    x = np.stack([frame for frame, _ in labelled])
    y = np.array([label for _, label in labelled])
    digits = y != _NOT_A_DIGIT
    return PageFrames(Split(x[digits, ..., np.newaxis], y[digits].astype(np.uint8)), x[~digits])


def _on_rendered_page(segmenter: Segmenter, seed: int) -> list[tuple[Frames, int]]:
    """Frames and labels of the candidates on one page; those of unknown label are left out."""
    rendered = rendered_pages.render(seed)
    height, width = rendered.grey.shape
    picture = Picture(rendered.grey, width, height, "PNG")
    areas = _glyph_areas(rendered)
    found = []
    segmented = preprocess.segmented_pages(picture, segmenter)
    for page in (next(next(preprocess.pages(picture))), *segmented):
        for piece in _candidates(page):
            label = _label(piece, rendered, areas)
            if label is not None:
                found.append((page.mark(piece).frame, label))
    return found


def _on_blank(segmenter: Segmenter, seed: int, number: int) -> list[tuple[Frames, int]]:
    """Frames of the candidates on one blank page, except those that may look like a 1."""
    rng = np.random.default_rng([seed, number, 0xB1A])
    photo = synthetic_photos.blank(level=_LEVELS[number % 2], seed=int(rng.integers(2**31)))
    marks = _all_marks(image.decode(photo.data), segmenter)
    return [(mark.frame, _NOT_A_DIGIT) for mark in marks if not _may_be_a_1(*mark.box[2:])]


def _all_marks(picture: Picture, segmenter: Segmenter) -> Iterator[Mark]:
    """Yield the marks of every binarisation of a picture."""
    pages = [page for binarisations in preprocess.pages(picture) for page in binarisations]
    for page in (*pages, *preprocess.segmented_pages(picture, segmenter)):
        for piece in _candidates(page):
            yield page.mark(piece)


def _may_be_a_1(width: int, height: int) -> bool:
    return width <= _SLIM * height


def _candidates(page: Page) -> Sequence[Piece]:
    pieces = page.instances or page.pieces
    return [
        piece for piece in pieces[:_MOST_CANDIDATES] if max(piece.height, piece.width) >= _SMALLEST
    ]


def _glyph_areas(page: RenderedPage) -> NDArray[np.intp]:
    """Count the ink pixels of each glyph, (1 + number of glyphs,); the first item is of none."""
    return np.bincount(page.owner[page.ink > _INK], minlength=len(page.glyphs) + 1)


def _label(piece: Piece, page: RenderedPage, areas: NDArray[np.intp]) -> int | None:
    """Label a glyph candidate by the page's truth.

    Returns
    -------
    int or None
        The digit; `_NOT_A_DIGIT` for another glyph, for several glyphs, and for bare paper; None if
        the candidate holds a part of a glyph or much paper, so that neither label is certain.
    """
    window = (slice(piece.top, piece.bottom), slice(piece.left, piece.right))
    within = np.bincount(page.owner[window][piece.mask], minlength=len(areas))
    if within[0] > _PAPER * piece.area:
        return None if _may_be_a_1(piece.width, piece.height) else _NOT_A_DIGIT
    shares = within[1:] / areas[1:].clip(1)
    whole = np.flatnonzero(shares > _WHOLE)
    if len(whole) > 1:
        return _NOT_A_DIGIT
    others = np.delete(shares, whole)
    if len(whole) == 0 or (others > _TOUCHED).any() or within[0] > _MOSTLY_PAPER * piece.area:
        return None
    digit = page.glyphs[whole[0]]
    return _NOT_A_DIGIT if digit is None else digit
