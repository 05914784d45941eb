"""The result types that every interface returns: CLI, HTTP, S3 and app.

The JSON form of these models is the project's public contract. Fields and reasons are added, never
renamed. These models write only the fields that they declare; `read` accepts the additional fields
of a later version.
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
# Omitted from the JSON if None: the request did not ask for it. Other fields are written as null.
_OPTIONAL = Field(exclude_if=lambda value: value is None)
# The validation context of `read`.
_READING = {"reading": True}

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], data: bytes | str) -> Model:
    """Parse JSON that a later version of this program may have written.

    Fields that `model` does not declare are ignored at every level, and checks by `when_written`
    are skipped.

    Raises
    ------
    ValidationError
        If it is not valid JSON, or does not fit the model.
    """
    return model.model_validate_json(data, extra="ignore", context=_READING)


def when_written(check: Callable[[str], str]) -> AfterValidator:
    """Return a validator that calls `check`, but not in `read`: later versions may allow more."""

    def validate(text: str, info: ValidationInfo) -> str:
        return text if info.context is _READING else check(text)

    return AfterValidator(validate)


def _known(reason: str) -> str:
    if reason not in get_args(Reason):
        raise ValueError(f"must be one of {', '.join(get_args(Reason))}")
    return reason


# The type of `reason` in a result. Written, it must be one of `Reason`; read, it can be any string.
OpenReason = Annotated[
    str, when_written(_known), WithJsonSchema({"type": "string", "enum": [*get_args(Reason)]})
]


class _Contract(BaseModel):
    # Validators are built on first use, so that unused models do not slow the start.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class FeatureMaps(_Contract):
    """The feature maps of one layer."""

    layer: Annotated[str, Field(examples=["conv1"])]
    png: Annotated[
        str,
        Field(
            description="The layer's activations side by side, each from black, silent, to white:"
            " a grey PNG in base64."
        ),
    ]


class Explanation(_Contract):
    """The classifier's input for one digit and, if requested, its occlusion and feature maps."""

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
    """One glyph of the image, and the digit that it was read as."""

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
    """The size of the upright image at full resolution, and its file format."""

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    format: Annotated[str, Field(examples=["JPEG"])]


class ModelInfo(_Contract):
    """The model that produced the result."""

    version: str
    sha256: Annotated[str, Field(description="Of the .tflite file that is served.")]
    preprocessing: str


class Result(_Contract):
    """The result of reading one image."""

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
    """The error of one item of a batch, in place of a result."""

    code: str
    message: str

    @classmethod
    def of(cls, error: DigitsError) -> ErrorInfo:
        """Return the stable code and the message of `error`."""
        return cls(code=error.code, message=str(error))
