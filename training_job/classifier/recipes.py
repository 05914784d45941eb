"""Recipes: the hyperparameters of training, for each architecture.

The values were chosen on the 5,000 held-out training images, except for the amounts of data of the
quick recipes, which keep these to about a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from training_job.classifier.augment import Ranges

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training run. Bundle manifests list them under `settings`.

    Attributes
    ----------
    epochs
        Passes over the training data; images are augmented anew in each.
    batch_size
        Images per step, digits and negatives together.
    optimizer
        AdamW, or stochastic gradient descent with Nesterov momentum of 0.9.
    peak_rate
        Largest learning rate; see `training_job.classifier.fit.OneCycle`.
    warm_up
        Share of all steps in which the learning rate rises to `peak_rate`.
    weight_decay
        Decoupled weight decay (Loshchilov and Hutter, ICLR 2019), of kernels only.
    label_smoothing
        Probability that is spread evenly over all ten digits (Szegedy et al., "Rethinking the
        Inception Architecture", CVPR 2016): it makes confident errors on images unlike MNIST rarer.
    average
        Decay of the running average of the weights (Polyak and Juditsky, 1992), per step; the
        averaged weights are served.
    hands
        Number of synthetic digits; see `training_job.classifier.synthetic_digits`.
    pages, blanks
        Number of pages with and without writing that are rendered, for the frames of the glyph
        candidates on them; see `training_job.classifier.page_frames`.
    found
        Number of digits on these pages that are trained on, at most.
    outliers
        Number of drawn negatives; see `training_job.classifier.negatives`. All negatives on the
        pages come in addition.
    ranges
        Ranges of the augmentation.
    precision
        Arithmetic of training; weights, sums and the served network are float32 in either case
        (Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019). bfloat16 is
        faster on processors with bfloat16 multiplication (AMX) and slower on others.
    """

    epochs: int
    batch_size: int = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    peak_rate: float = 3e-3
    warm_up: float = 0.25
    weight_decay: float = 5e-3
    label_smoothing: float = 0.03
    average: float = 0.998
    hands: int = 6_000
    pages: int = 600
    blanks: int = 120
    found: int = 2_000
    outliers: int = 12_000
    ranges: Ranges = field(default_factory=Ranges)
    precision: Precision = "float32"


# For other handwriting and pens than MNIST's; elastic deformation also helps on MNIST itself.
_VARIED = Ranges(width_shift=0.08, height_shift=0.08, slant=0.15, elastic=1.0, thickness=0.2)

_WIDER = Ranges(
    rotation=12,
    zoom=0.12,
    width_shift=0.08,
    height_shift=0.08,
    slant=0.2,
    elastic=1.2,
    thickness=0.2,
)

_QUICK = Recipe(epochs=6, hands=1_500, pages=100, blanks=30, found=500, outliers=8_000)

RECIPES: dict[tuple[str, str], Recipe] = {
    ("reference", "quick"): _QUICK,
    ("reference", "release"): Recipe(epochs=16, ranges=_VARIED),
    ("deep", "quick"): replace(_QUICK, epochs=3, ranges=_VARIED),
    ("deep", "release"): Recipe(
        epochs=30,
        batch_size=192,
        optimizer="sgd",
        peak_rate=0.1,
        weight_decay=5e-3,
        average=0.999,
        hands=20_000,
        pages=3_600,
        blanks=600,
        found=30_000,
        outliers=44_000,
        ranges=_WIDER,
    ),
}
