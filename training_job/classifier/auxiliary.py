"""Auxiliary training data of the digit network: synthetic digits, page frames and negatives."""

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
from training_job.data import NOT_A_DIGIT, Split, joined

if TYPE_CHECKING:  # these import TensorFlow, which the worker processes must not load
    from training_job.classifier.recipes import Recipe
    from training_job.progress import RunProgress

_BATCH = 500  # samples that one task draws: some seconds of work, so that all cores end together


def auxiliary_data(recipe: Recipe, seed: int, segmenter: Segmenter, progress: RunProgress) -> Split:
    """Draw the auxiliary training data on all cores: minutes of work for the release recipes.

    Parameters
    ----------
    recipe
        Its `hands`, `pages`, `blanks`, `found` and `outliers` say how many samples are drawn.
    seed
        Seed of all random choices.
    segmenter
        The segmentation network that cuts glyph candidates out of rendered pages.
    progress
        Reports the steps.

    Returns
    -------
    Split
        Digits with their labels, and negatives labelled `training_job.data.NOT_A_DIGIT`: letters,
        scribbles, cut and merged digits, and the glyph candidates on pages that are not digits.
    """
    with workers(segmenter) as pool:
        progress.say("rendering pages")
        pages = page_frames.frames(recipe.pages, recipe.blanks, seed, segmenter, pool)
        progress.say("drawing synthetic digits and negatives")
        drawn = [
            *pool.map(partial(_synthetic_digits, seed), *_batches(recipe.hands)),
            *pool.map(partial(_negatives, seed), *_batches(recipe.outliers)),
        ]
    chosen = np.random.default_rng(seed).permutation(len(pages.digits))[: recipe.found]
    return reduce(
        joined,
        [
            *drawn,
            Split(pages.digits.x[chosen], pages.digits.y[chosen]),
            _labelled_negatives(pages.negatives),
        ],
    )


@contextmanager
def workers(segmenter: Segmenter) -> Iterator[Executor]:
    """Start one process per core, and end them after the block.

    The processes are spawned: a process that has loaded TensorFlow cannot safely be forked.
    """
    with ProcessPoolExecutor(
        mp_context=get_context("spawn"), initializer=_warm_up, initargs=(segmenter,)
    ) as pool:
        yield pool


def _warm_up(segmenter: Segmenter) -> None:
    """Run LiteRT once in silence: on its first run it writes a line to standard error."""
    with nothing_on_stderr():
        segmenter.find(np.zeros((finder.SMALLEST, finder.SMALLEST), np.uint8))


def _batches(count: int) -> tuple[list[int], list[int]]:
    """Split `count` samples into batches; return the batches' numbers and sizes."""
    sizes = [min(_BATCH, count - start) for start in range(0, count, _BATCH)]
    return list(range(len(sizes))), sizes


def _synthetic_digits(seed: int, batch: int, count: int) -> Split:
    return synthetic_digits.frames(count, np.random.default_rng([seed, batch, 0x4A]))


def _negatives(seed: int, batch: int, count: int) -> Split:
    rng = np.random.default_rng([seed, batch, 0x0D])
    drawn = negatives.frames(count, *synthetic_photos.load(held_out=False), rng)
    return _labelled_negatives(np.concatenate(list(drawn.values())))


def _labelled_negatives(frames: negatives.Frames) -> Split:
    return Split(frames[..., np.newaxis], np.full(len(frames), NOT_A_DIGIT, np.uint8))
