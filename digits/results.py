"""The result types that every interface returns: command line, HTTP, label objects and app.

The JSON form of these models is the project's public contract. Fields and reasons are added, never
renamed: these models write only what they declare, and `read` takes what a later version adds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)

from digits.errors import DigitsError

Reason = Literal["blank", "not_a_digit", "low_confidence", "several_digits", "turned"]
Mode = Literal["single", "multiple"]
Explain = Literal["frame", "full"]
Probability = Annotated[float, Field(ge=0, le=1)]
# Left out of the JSON where it was not asked for; every other null is meant.
_OPTIONAL = Field(exclude_if=lambda value: value is None)
# The validation context of `read`.
_READING = {"reading": True}

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], data: bytes | str) -> Model:
    """Read JSON that another version of this program may have written.

    Fields that `model` does not declare are ignored, at every level, and what `when_written`
    checks is taken as it is.

    Raises
    ------
    ValidationError
        If it is not JSON, or not such a document of any version.
    """
    return model.model_validate_json(data, extra="ignore", context=_READING)


def when_written(check: Callable[[str], str]) -> AfterValidator:
    """Validate a text by `check`, except in `read`: later versions may allow more."""

    def validate(text: str, info: ValidationInfo) -> str:
        return text if info.context is _READING else check(text)

    return AfterValidator(validate)


def _known(reason: str) -> str:
    if reason not in get_args(Reason):
        raise ValueError(f"must be one of {', '.join(get_args(Reason))}")
    return reason


# Type of `reason` in a result: one of the reasons above when it is written, any when it is read.
OpenReason = Annotated[
    str, when_written(_known), WithJsonSchema({"type": "string", "enum": [*get_args(Reason)]})
]


class _Contract(BaseModel):
    # Built when first needed: what an answer does not hold costs no start.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class FeatureMaps(_Contract):
    """What one layer made of the frame."""

    layer: Annotated[str, Field(examples=["conv1"])]
    png: Annotated[
        str,
        Field(
            description="The layer's activations side by side, each from black, silent, to white:"
            " a grey PNG in base64."
        ),
    ]


class Explanation(_Contract):
    """Why one digit was read: the frame, and if it was asked for, what mattered in it."""

    frame: Annotated[str, Field(description="The 28×28 white-on-black frame: a PNG in base64.")]
    occlusion: Annotated[
        str | None,
        _OPTIONAL,
        Field(
            description="What of the frame mattered, brightest what mattered most: how far the"
            " log-odds of the digit fall when a small square there is made black. A 28×28 grey PNG"
            " in base64."
        ),
    ] = None
    feature_maps: Annotated[
        tuple[FeatureMaps, ...] | None,
        _OPTIONAL,
        Field(description="Of the first two convolutions."),
    ] = None


class Digit(_Contract):
    """One mark of the picture and the digit read from it."""

    digit: Annotated[int, Field(ge=0, le=9)]
    confidence: Annotated[Probability, Field(description="Calibrated probability of `digit`.")]
    probabilities: Annotated[
        tuple[Probability, ...],
        Field(min_length=10, max_length=10, description="Calibrated probabilities of 0 to 9."),
    ]
    box: Annotated[
        tuple[int, int, int, int],
        Field(description="x, y, width, height in pixels of the upright image."),
    ]
    needs_review: bool
    reason: OpenReason | None
    explanation: Annotated[Explanation | None, _OPTIONAL] = None


class ImageInfo(_Contract):
    """The picture as it was given, turned upright."""

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    format: Annotated[str, Field(examples=["JPEG"])]


class ModelInfo(_Contract):
    """Which model answered."""

    version: str
    sha256: Annotated[str, Field(description="Of the .tflite file that is served.")]
    preprocessing: str


class Result(_Contract):
    """What was read in one image."""

    text: Annotated[
        str | None,
        Field(description="The digits in reading order; null where none was found."),
    ]
    needs_review: bool
    reason: OpenReason | None
    digits: tuple[Digit, ...]
    image: ImageInfo
    model: ModelInfo


class ErrorInfo(_Contract):
    """Why one item of a list has no result."""

    code: str
    message: str

    @classmethod
    def of(cls, error: DigitsError) -> ErrorInfo:
        """Describe `error` by its stable code and its message."""
        return cls(code=error.code, message=str(error))
