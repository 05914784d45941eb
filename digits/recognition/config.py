"""The configuration of the page reader in development: every threshold of it.

`training_job/data/tile_segmenter.json` holds values that were chosen by eye from the open
development pictures; they are yet to be fitted, and to take the place of `digits.config`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from digits.config import Probability

Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SegmentationConfig(_Part):
    """Thresholds on the outputs of the segmentation network. Lengths are pixels of a level.

    Attributes
    ----------
    ink : float
        Probability of handwriting from which a pixel is ink.
    faint : float
        Probability of handwriting, or of print, from which an area is looked at closer, and from
        which a pixel may be the edge of a glyph; at most `ink`.
    centre : float
        Value of the centre heat map from which a local maximum is the centre of a glyph.
    stray : float
        Share of a glyph's size by which a pixel's vote may miss the glyph's centre.
    small : float
        Longer side below which a glyph is deferred to the next, finer level.
    large : float
        Longer side above which a glyph is left to a coarser level.
    repeated : float
        Share of a glyph's ink in other glyphs from which it is one of them again.
    trusted : float
        Quality from which a glyph is not looked at closer; see `pipeline.Recogniser`.
    kept : float
        Quality below which a glyph is dropped even where nothing better is found.
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


class LatticeConfig(_Part):
    """Weights of the segmentation lattice. Lengths are in heights of a digit of the line.

    Attributes
    ----------
    by_classifier, by_segmenter, by_ink, bias : float
        Weights of the log-odds of a digit by the two networks and of the log-odds of its pixels
        being handwriting, and what is added to their sum: a logistic regression.
    likely : float
        Probability of a digit from which a candidate counts for the height of the line's digits.
    other : float
        Log-likelihood that is added where a candidate is read as no digit.
    join : float
        Log-likelihood of one more tall part in a digit.
    tall : float
        Height from which a part is tall.
    flat : float
        Of its width: the height that a flat candidate counts as.
    smaller, larger : float
        Standard deviation of the logarithm of the size of digits that are smaller and larger than
        the line's.
    widest, tallest : float
        Of a digit of several parts.
    gap : float
        Between two parts of a digit, at most.
    most_parts : int
        Of a digit.
    speck, ink_of_speck : float
        Size below which what is no digit is left out, if it is less surely handwriting than
        `ink_of_speck`, 0 to 1.
    stray : float
        Size below which a mark that is no digit is left out of a line without digits.
    accepted : float
        Probability of a digit below which a digit is marked for review.
    contrast : float
        Of a digit to its paper's grain, standard deviations, below which it is marked for review.
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
    def of_evidence(self) -> tuple[float, float, float]:
        """The weights of `digits.recognition.pipeline.evidence`."""
        return self.by_classifier, self.by_segmenter, self.by_ink


class PageConfig(_Part):
    """All of it."""

    segmentation: SegmentationConfig
    lattice: LatticeConfig
