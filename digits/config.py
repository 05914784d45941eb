"""The configuration of recognition: every threshold that a model bundle brings, as `config.json`.

The code has no default values: each bundle holds those that were chosen for its two networks, and
one that lacks a value is refused. Those of the shipped bundle are the constants of version 0.1.0.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

# The version of what makes the classifier's frames (segmentation and normalisation). A classifier
# that was trained on frames of another version cannot be served.
PREPROCESSING = "2"

Probability = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    """Unknown fields are ignored: a later writer may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


class SegmentationConfig(_Part):
    """Thresholds on the outputs of the segmentation network.

    Attributes
    ----------
    ink : float
        Probability from which a pixel is ink.
    faint_ink : float
        Probability from which a pixel may be the faint edge of ink and is assigned to a glyph; at
        most `ink`.
    centre : float
        Value of the centre heat map from which a local maximum is the centre of a glyph.
    scrap : float
        Area of a connected component as a share of the largest one of its glyph: up to it, the
        component is taken for a part of a neighbour and left out.
    """

    ink: Probability
    faint_ink: Probability
    centre: Probability
    scrap: Share

    @model_validator(mode="after")
    def _faint_is_less(self) -> SegmentationConfig:
        if self.faint_ink > self.ink:
            raise ValueError("faint_ink must be at most ink")
        return self


class ClassificationConfig(_Part):
    """Thresholds on the outputs of the classifier that no training run fits.

    Attributes
    ----------
    sure_digit : float
        Probability that a frame shows a digit at all, below which the digit is marked for review.
    """

    sure_digit: Share


class RecognitionConfig(_Part):
    """`config.json`."""

    segmentation: SegmentationConfig
    classification: ClassificationConfig

    def to_json(self) -> bytes:
        """The file's bytes: UTF-8 JSON, indented, ending in a newline."""
        return self.model_dump_json(indent=2).encode() + b"\n"
