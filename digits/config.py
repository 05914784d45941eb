"""The configuration of recognition, `config.json`: the thresholds that belong to a model bundle.

The code has no default values: each bundle contains the values that were chosen for its two
networks, and a bundle that lacks a value is rejected. The values of the shipped bundle are the
constants of version 0.1.0.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

# The version of the preprocessing: segmentation and normalisation, which produce the classifier's
# frames. A classifier that was trained on frames of another version cannot be served.
PREPROCESSING = "2"

Probability = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    """Base of the configuration's models. Fields that a later version added are ignored."""

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
        Share of the area of a glyph's largest connected component. A component of the glyph with at
        most that area is taken for a part of a neighbour and left out.
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
    """Thresholds on the outputs of the classifier that are chosen by hand and not fitted.

    Attributes
    ----------
    sure_digit : float
        Probability that a frame shows a digit, below which the digit is marked for review.
    """

    sure_digit: Share


class RecognitionConfig(_Part):
    """`config.json`."""

    segmentation: SegmentationConfig
    classification: ClassificationConfig

    def to_json(self) -> bytes:
        """Return the file's bytes: indented UTF-8 JSON that ends in a newline."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class _Fitted(BaseModel):
    """Base of what is fitted with a classifier. Unknown fields are kept, as in the manifest."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class Rejector(_Fitted):
    """The reject option: whether a frame shows a digit at all.

    The classifier's second output is the log-odds of a digit. A frame whose probability is below
    `threshold` is rejected as not a digit.
    """

    threshold: Annotated[float, Field(ge=0, le=1)]


class Decision(_Fitted):
    """Calibration of the classifier and the thresholds of its decision.

    The probabilities are ``softmax(logits / temperature)``. A digit is marked for review if its
    largest probability is below `threshold`, or if the rejector rejects it.
    """

    temperature: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    rejector: Rejector | None = None

    @property
    def digit_threshold(self) -> float:
        """Probability of showing a digit, 0 to 1, below which a frame is rejected."""
        return self.rejector.threshold if self.rejector else 0.0

    def review_threshold(self, config: RecognitionConfig) -> float:
        """Return the probability of showing a digit, 0 to 1, below which a frame needs review."""
        if self.rejector is None:
            return 0.0
        return max(self.rejector.threshold, config.classification.sure_digit)
