"""Label objects: what is kept in the labels bucket for each image, and under which key.

A label's key is a pure function of its image's key, so labelling twice writes the same place.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from digits.errors import DigitsError
from digits.results import ErrorInfo, Mode, ModelInfo, Result

PREFIX = "labels/"
# A prefix of its own for images whose label key would be longer than S3 allows.
_LONG = ".long/"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_MAX_KEY_BYTES = 1024


class Source(BaseModel):
    """The version of the image that a label speaks of."""

    model_config = ConfigDict(frozen=True)

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None


class _Label(BaseModel):
    model_config = ConfigDict(frozen=True)

    source: Source
    labelled_at: str = Field(default_factory=lambda: _now())  # noqa: PLW0108 - defined below


class ImageLabel(Result, _Label):
    """The result for an image that could be read."""

    mode: Mode


class ErrorLabel(_Label):
    """The answer for an image that can never be read: it takes the place of a result."""

    text: None = None
    needs_review: Literal[True] = True
    reason: None = None
    error: ErrorInfo
    image: None = None
    model: ModelInfo
    mode: Mode | None


class Tombstone(_Label):
    """The image is gone. Kept, because only a write can lose to a later one, and a gap cannot."""

    deleted: Literal[True] = True


Label = ImageLabel | ErrorLabel | Tombstone


def label_key(image_key: str) -> str:
    """The key of the label of `image_key`: ``labels/<image key>.json``.

    A key too long for that becomes ``labels/.long/<SHA-256 of the image key>.json``. So does one
    that itself starts with ``.long/``: else it could be made to share a label with a long one.
    """
    key = f"{PREFIX}{image_key}.json"
    if len(key.encode()) <= _MAX_KEY_BYTES and not image_key.startswith(_LONG):
        return key
    return f"{PREFIX}{_LONG}{hashlib.sha256(image_key.encode()).hexdigest()}.json"


def label(result: Result, source: Source, mode: Mode) -> ImageLabel:
    """The label of an image that was read in `mode`."""
    return ImageLabel(
        **{name: getattr(result, name) for name in Result.model_fields}, source=source, mode=mode
    )


def error_label(
    error: DigitsError, source: Source, mode: Mode | None, model: ModelInfo
) -> ErrorLabel:
    """The label of an image that can never be read, and why."""
    return ErrorLabel(error=ErrorInfo.of(error), source=source, mode=mode, model=model)


def _now() -> str:
    """UTC to the microsecond: two labels of one image never have the same bytes."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
