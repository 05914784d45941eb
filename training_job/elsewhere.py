"""What a network is shown beside MNIST: digits of other hands and of pages, and what is none."""

from __future__ import annotations

from functools import reduce

import numpy as np

from training_job import found, hands, outliers
from training_job.data import NONE, Mnist, Split, joined
from training_job.progress import Progress
from training_job.recipes import Recipe


def shown(mnist: Mnist, recipe: Recipe, seed: int, progress: Progress) -> Split:
    """Draw and paint all of it; minutes of work for the release recipes.

    What is none is labelled `training_job.data.NONE`: letters, scribbles, cut and merged digits,
    and whatever else the preprocessing finds on pages and takes for a mark.
    """
    rng = np.random.default_rng(seed)
    progress.say("painting pages")
    pages = found.frames(recipe.pages, recipe.blanks, seed)
    chosen = rng.permutation(len(pages.digits))[: recipe.found]
    progress.say("drawing digits of other hands, and what is no digit")
    pixels = np.round(mnist.train.x[..., 0] * 255).astype(np.uint8)
    drawn = outliers.frames(recipe.outliers, pixels, mnist.train.y, rng)
    others = np.concatenate([*drawn.values(), pages.others])[..., np.newaxis]
    splits = (
        hands.frames(recipe.hands, rng),
        Split(pages.digits.x[chosen], pages.digits.y[chosen]),
        Split(others, np.full(len(others), NONE, np.uint8)),
    )
    return reduce(joined, splits)
