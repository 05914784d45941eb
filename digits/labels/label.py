"""Label objects: what is kept in the labels bucket for each image, and under which key.

A label's key is a pure function of its image's key, so labelling twice writes the same place. What
a person says is in an image is kept beside its label, where no labelling ever writes.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from digits.errors import Archived, DigitsError
from digits.labels import corrections
from digits.results import ErrorInfo, Mode, ModelInfo, Result, when_written

PREFIX = "labels/"
CORRECTIONS = "corrections/"
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

    @property
    def is_folder(self) -> bool:
        """Whether it is what S3's console makes for a folder: no image, and has no label."""
        return self.size == 0 and self.key.endswith("/")


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


class KeptLabel(_Label):
    """A label from before, whatever a later version of this program wrote in it, dated anew."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @classmethod
    def of(cls, image: Source, data: bytes) -> KeptLabel | None:
        """The label in an object's bytes; None if it tells nothing of that version of the image."""
        found = Written.read(data)
        if not found.is_of(image) or found.is_archived:
            return None
        return cls.model_validate(json.loads(data) | {"labelled_at": _now()})


Label = ImageLabel | ErrorLabel | Tombstone | KeptLabel


class _Error(BaseModel):
    code: str = ""


class _Model(BaseModel):
    version: str = ""


class _Digit(BaseModel):
    confidence: float | None = None


class Written(BaseModel):
    """What a label says, whichever kind it is; all of it may be missing in what others wrote.

    Newer versions of this program may say more.
    """

    model_config = ConfigDict(frozen=True)

    source: Source | None = None
    labelled_at: str | None = None
    text: str | None = None
    needs_review: bool = False
    reason: str | None = None
    digits: tuple[_Digit, ...] | None = None
    error: _Error | None = None
    model: _Model | None = None
    deleted: bool = False

    @classmethod
    def read(cls, data: bytes) -> Written:
        """The label in an object's bytes; an empty one where they are no label."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return cls()

    @property
    def is_archived(self) -> bool:
        """Whether it says no more than that the image cannot be read until it is restored."""
        return self.error is not None and self.error.code == Archived.code

    def is_of(self, image: Source) -> bool:
        """Whether this is a label of that version of the image.

        One without a tag is a deletion, whose label is a tombstone; so is a folder's, which had one
        before. A listing calls the version "null" that has no id, or tells none at all; then tag
        and size have to do.
        """
        if image.etag is None or image.is_folder:
            return self.deleted
        if self.source is None:
            return False
        version = None if image.version_id is None else self.source.version_id or "null"
        return self.source.model_copy(update={"version_id": version}) == image


class Correction(BaseModel):
    """What a person says is in an image, whatever any model said of it."""

    model_config = ConfigDict(frozen=True)

    source: Source
    truth: Annotated[str, when_written(corrections.valid)]
    corrected_at: str = Field(default_factory=lambda: _now())  # noqa: PLW0108 - defined below

    def is_of(self, image: Source) -> bool:
        """Whether it speaks of the picture that is in the image now, by its bytes."""
        return (self.source.etag, self.source.size) == (image.etag, image.size)


def label_key(image_key: str) -> str:
    """The key of the label of `image_key`: ``labels/<image key>.json``.

    A key too long for that becomes ``labels/.long/<SHA-256 of the image key>.json``. So does one
    that itself starts with ``.long/``: else it could be made to share a label with a long one.
    """
    return _key(PREFIX, image_key)


def correction_key(image_key: str) -> str:
    """The key of a person's correction: as `label_key`, with ``corrections/`` for ``labels/``."""
    return _key(CORRECTIONS, image_key)


def _key(prefix: str, image_key: str) -> str:
    key = f"{prefix}{image_key}.json"
    if len(key.encode()) <= _MAX_KEY_BYTES and not image_key.startswith(_LONG):
        return key
    return f"{prefix}{_LONG}{hashlib.sha256(image_key.encode()).hexdigest()}.json"


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
