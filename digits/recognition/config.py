"""The configuration of the page reader in development: its thresholds and weights.

`training_job/data/tile_segmenter.json` holds the values. They were chosen by eye on development
pictures and are not fitted yet. This configuration will replace `digits.config`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from digits.config import Probability

Positive = Annotated[float, Field(gt=0)]


class _ConfigSection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SegmentationConfig(_ConfigSection):
    """Thresholds on the outputs of the segmentation network. Lengths are pixels of a level.

    Attributes
    ----------
    ink : float
        Probability of handwriting from which a pixel is ink.
    faint : float
        Probability of handwriting or of printed text from which an area is segmented again on the
        next level, and from which a pixel may belong to the edge of a glyph; at most `ink`.
    centre : float
        Value of the centre heat map from which a local maximum is the centre of a glyph.
    stray : float
        Largest distance between a pixel's vote and the glyph's centre, as a share of the glyph's
        size.
    small : float
        Longer side below which a glyph is left to the next, finer level.
    large : float
        Longer side above which a glyph is left to a coarser level.
    repeated : float
        Share of a glyph's ink in glyphs found before, from which it is discarded as a duplicate.
    trusted : float
        Quality from which a glyph is final and not segmented again on the next level; see
        `lattice.Candidate.quality`.
    kept : float
        Quality below which a glyph is dropped even if the next levels find none in its place.
    """

    ink: Probability
    faint: Probability
    centre: Probability
    stray: Positive
    small: Positive
    large: Positive
    repeated: Probability
    trusted: Probability
    kept: Probability

    @model_validator(mode="after")
    def _faint_is_less(self) -> SegmentationConfig:
        if self.faint > self.ink:
            raise ValueError("faint must be at most ink")
        return self


class LatticeConfig(_ConfigSection):
    """Weights of the segmentation lattice. Lengths are in heights of the text line's digits.

    Attributes
    ----------
    by_classifier, by_segmenter, by_ink, bias : float
        Coefficients of the logistic regression that estimates the probability of a digit: for the
        log-odds of a digit by the classifier and by the segmentation network, for the log-odds of
        the pixels being handwriting, and the intercept.
    likely : float
        Probability of a digit from which a candidate's height is used to estimate the height of
        the line's digits.
    other : float
        Log-likelihood that is added if a candidate is not a digit.
    join : float
        Log-likelihood of each tall part of a digit after the first.
    tall : float
        Height from which a part is tall.
    flat : float
        Share of a candidate's width that is the least height it is counted with.
    smaller, larger : float
        Standard deviations of the logarithm of a digit's size relative to the line's digits, for
        smaller and for larger digits.
    widest, tallest : float
        Largest width and height of a digit of several parts.
    gap : float
        Largest horizontal gap between two parts of a digit.
    most_parts : int
        Largest number of parts of a digit.
    speck, ink_of_speck : float
        A candidate that is not a digit is a speck and left out if its size is below `speck` and its
        probability of handwriting, 0 to 1, is below `ink_of_speck`.
    stray : float
        A text line without digits is left out if all its glyphs are smaller than this.
    accepted : float
        Probability of a digit below which a digit is marked for review.
    contrast : float
        Contrast to the paper, in standard deviations of the paper's grain, below which a digit is
        marked for review.
    """

    by_classifier: float
    by_segmenter: float
    by_ink: float
    bias: float
    likely: Probability
    other: float
    join: float
    tall: Positive
    flat: Positive
    smaller: Positive
    larger: Positive
    widest: Positive
    tallest: Positive
    gap: Positive
    most_parts: Annotated[int, Field(ge=1)]
    speck: Positive
    ink_of_speck: Probability
    stray: Positive
    accepted: Probability
    contrast: Positive

    @property
    def log_odds_weights(self) -> tuple[float, float, float]:
        """The coefficients of the columns of `digits.recognition.pipeline.digit_log_odds`."""
        return self.by_classifier, self.by_segmenter, self.by_ink


class PageConfig(_ConfigSection):
    """The whole configuration: segmentation and lattice."""

    segmentation: SegmentationConfig
    lattice: LatticeConfig
