"""How each network is trained: every knob beside its value, with the reason where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from training_job.classifier.augment import Ranges

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """The settings of a run that a person would want to change.

    Attributes
    ----------
    epochs
        Times that every image is shown, moved differently each time.
    batch_size
        Images a step, digits and negatives together.
    optimizer
        AdamW, or stochastic gradient descent with Nesterov's momentum of 0.9.
    peak_rate
        The learning rate, reached after `warm_up` of all steps; then it falls to nothing.
    warm_up
        Share of all steps.
    weight_decay
        Decoupled from the gradient (Loshchilov and Hutter, ICLR 2019); on kernels alone.
    label_smoothing
        Share of the truth that is spread over all ten digits (Szegedy et al., "Rethinking the
        Inception Architecture", CVPR 2016): fewer confident mistakes on pictures from elsewhere.
    average
        How much of the running average of the weights, which is what is kept, each step leaves in
        place (Polyak and Juditsky, 1992).
    hands
        Digits of other hands and pens that are drawn and shown beside MNIST's.
    pages, blanks
        Painted with writing and without, for what the preprocessing finds on them.
    found
        Digits of those that are shown beside MNIST's.
    outliers
        Drawn and shown for the opinion on what is no digit, beside those found on the pages.
    ranges
        How far images are moved, bent and thickened.
    precision
        Of the arithmetic in training; weights and sums are float32 either way, and so is what is
        served (Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019). bfloat16
        is quicker on processors that multiply it (AMX), and slower on others.
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


# Other hands and pens than MNIST's; it is the bending that also helps on MNIST itself.
_WORLD = Ranges(width_shift=0.08, height_shift=0.08, slant=0.15, elastic=1.0, thickness=0.2)

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
    ("reference", "release"): Recipe(epochs=16, ranges=_WORLD),
    ("deep", "quick"): replace(_QUICK, epochs=3, ranges=_WORLD),
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
