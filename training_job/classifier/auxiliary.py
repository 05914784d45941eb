"""What a network is shown beside MNIST: digits of other hands and of pages, and what is none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial, reduce
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from digits import finder
from digits.finder import Segmenter
from digits.quiet import nothing_on_stderr
from training_job import synthetic_photos
from training_job.classifier import negatives, page_frames, synthetic_digits
from training_job.data import NONE, Split, joined

if TYPE_CHECKING:  # the workers do without TensorFlow, which these bring
    from training_job.classifier.recipes import Recipe
    from training_job.progress import Progress

_AT_ONCE = 500  # drawn by one process before the next takes its turn


def shown(recipe: Recipe, seed: int, segmenter: Segmenter, progress: Progress) -> Split:
    """Draw and paint all of it, on every core; minutes of work for the release recipes.

    What is none is labelled `training_job.data.NONE`: letters, scribbles, cut and merged digits,
    and whatever else the preprocessing finds on pages and takes for a mark.
    """
    with workers(segmenter) as pool:
        progress.say("painting pages")
        pages = page_frames.frames(recipe.pages, recipe.blanks, seed, segmenter, pool)
        progress.say("drawing digits of other hands, and what is no digit")
        drawn = [
            *pool.map(partial(_hands, seed), *_parts(recipe.hands)),
            *pool.map(partial(_outliers, seed), *_parts(recipe.outliers)),
        ]
    chosen = np.random.default_rng(seed).permutation(len(pages.digits))[: recipe.found]
    return reduce(
        joined,
        [
            *drawn,
            Split(pages.digits.x[chosen], pages.digits.y[chosen]),
            _none(pages.others),
        ],
    )


@contextmanager
def workers(segmenter: Segmenter) -> Iterator[Executor]:
    """A process for every core; spawned, as one that has loaded TensorFlow cannot be forked."""
    with ProcessPoolExecutor(
        mp_context=get_context("spawn"), initializer=_run_once, initargs=(segmenter,)
    ) as pool:
        yield pool


def _run_once(segmenter: Segmenter) -> None:
    """Run LiteRT for the first time in a process, when it writes a line to standard error."""
    with nothing_on_stderr():
        segmenter.find(np.zeros((finder.SMALLEST, finder.SMALLEST), np.uint8))


def _parts(count: int) -> tuple[list[int], list[int]]:
    """Numbers and sizes of the parts in which so many are drawn."""
    sizes = [min(_AT_ONCE, count - start) for start in range(0, count, _AT_ONCE)]
    return list(range(len(sizes))), sizes


def _hands(seed: int, part: int, count: int) -> Split:
    return synthetic_digits.frames(count, np.random.default_rng([seed, part, 0x4A]))


def _outliers(seed: int, part: int, count: int) -> Split:
    rng = np.random.default_rng([seed, part, 0x0D])
    drawn = negatives.frames(count, *synthetic_photos.load(held_out=False), rng)
    return _none(np.concatenate(list(drawn.values())))


def _none(frames: negatives.Frames) -> Split:
    return Split(frames[..., np.newaxis], np.full(len(frames), NONE, np.uint8))
