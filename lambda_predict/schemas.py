"""Requests and responses of the HTTP API, around the recogniser's result types."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from digits.image import MAX_BYTES
from digits.results import ErrorInfo, Mode, Result

MAX_IMAGES = 32
# Keys of `POST /uploads`: a date, 16 random bytes in hex, a name of unreserved characters.
UPLOAD_KEY = r"^uploads/[0-9]{4}-[0-9]{2}-[0-9]{2}/[A-Za-z0-9_-]{22}/[A-Za-z0-9._-]{1,100}$"
EXAMPLE_KEY = "uploads/2026-11-26/Vq3yIbu1TzSBk5nm0n4d3A/IMG_1.jpg"
EXAMPLE_VERSION = "20261123T204400Z-1a2b3c4d"
BASE64 = (
    "The image file's bytes in base64. Line breaks, missing padding, the URL-safe alphabet"
    " and `data:` URLs are accepted."
)


def without_default(schema: dict[str, Any]) -> None:
    """Hide the default: an absent field is the empty text here, which clients may not send."""
    schema.pop("default")


def encoded_without_default(schema: dict[str, Any]) -> None:
    """As `without_default`, of a text that holds an image in base64."""
    without_default(schema)
    schema["contentEncoding"] = "base64"


class Body(BaseModel):
    """What a request or an answer holds, in JSON."""

    model_config = ConfigDict(defer_build=True)  # until one is sent


class EncodedImage(Body):
    """One image of a JSON request."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(description="Your name for the image; the answer repeats it.")]
    data: Annotated[
        str,
        Field(
            description=BASE64,
            json_schema_extra={"contentEncoding": "base64"},
        ),
    ]


class ClassifyRequest(Body):
    """A JSON request for several images."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[tuple[EncodedImage, ...], Field(min_length=1, max_length=MAX_IMAGES)]


class IdentifiedResult(Result):
    """The result for one image of several."""

    id: str


class IdentifiedError(Body):
    """Why one image of several has no result."""

    id: str
    error: ErrorInfo


class ClassifyResponse(Body):
    """One answer for each image, in the order of the request."""

    results: tuple[IdentifiedResult | IdentifiedError, ...]


class UploadRequest(Body):
    """The file to upload."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            description="The file's name; characters that are reserved in addresses are replaced.",
            examples=["IMG_1.jpg"],
        ),
    ]
    size: Annotated[
        int,
        Field(
            ge=1,
            description="Size of the file in bytes. The PUT must have exactly this size.",
            examples=[8_000_000],
            json_schema_extra={"maximum": MAX_BYTES},  # more is `too_large`, not `bad_request`
        ),
    ]
    content_type: Annotated[
        str | None,
        Field(
            pattern=r"^(image/[A-Za-z0-9.+-]{1,60}|application/octet-stream)$",
            description="If given, the PUT must send it as its Content-Type.",
            examples=["image/jpeg"],
        ),
    ] = None
    mode: Annotated[
        Mode | None, Field(description="Mode for this image. Default: the service's label mode.")
    ] = None


class Upload(Body):
    """The address to PUT the image to, and the key of its label."""

    key: Annotated[str, Field(pattern=UPLOAD_KEY, examples=[EXAMPLE_KEY])]
    url: Annotated[str, Field(description="The presigned address; it needs no API key.")]
    method: Literal["PUT"] = "PUT"
    headers: Annotated[
        dict[str, str],
        Field(
            description="Send these headers unchanged with the bytes. Because of `If-None-Match`, a"
            " second PUT is answered with 412; if the first answer was lost, 412 means that the"
            " first PUT succeeded."
        ),
    ]
    expires_at: Annotated[str, Field(description="UTC.", examples=["2026-11-26T12:15:00Z"])]
    max_bytes: Annotated[int, Field(description="The largest size of an image, in bytes.")]


class Waiting(Body):
    """The image is stored, but not labelled yet."""

    status: Literal["waiting"] = "waiting"


class Health(Body):
    """A model is loaded."""

    status: Literal["ok"] = "ok"
    model: Annotated[str, Field(description="Version of the model in service.")]


class Problem(Body):
    """An error in RFC 9457's format, with a stable `code` and the request's id."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str

    @classmethod
    def of(cls, status: int, code: str, detail: str, request_id: str) -> Problem:
        """Describe an error; the title is the status's own phrase."""
        return cls(
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            code=code,
            request_id=request_id,
        )
