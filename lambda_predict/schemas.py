"""What goes over HTTP around the recogniser's own result types."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from digits.results import ErrorInfo, Result

MAX_IMAGES = 32


class EncodedImage(BaseModel):
    """One image of a JSON request."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(description="Yours; it comes back with the result.")]
    data: Annotated[str, Field(description="The image file's bytes in base64.")]


class ClassifyRequest(BaseModel):
    """A JSON request for several images."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[tuple[EncodedImage, ...], Field(min_length=1, max_length=MAX_IMAGES)]


class IdentifiedResult(Result):
    """The result for one image of several."""

    id: str


class IdentifiedError(BaseModel):
    """Why one image of several has no result."""

    id: str
    error: ErrorInfo


class ClassifyResponse(BaseModel):
    """One answer for each image, in the order of the request."""

    results: tuple[IdentifiedResult | IdentifiedError, ...]


class Health(BaseModel):
    """A model is loaded."""

    status: Literal["ok"] = "ok"
    model: Annotated[str, Field(description="Version of the model in service.")]


class Problem(BaseModel):
    """An error as RFC 9457 has it, with our stable `code` and the request's id."""

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
