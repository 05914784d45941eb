"""Label objects: the content of the labels bucket for each image, and its keys.

A label's key is a pure function of its image's key, so labelling an image again replaces its label.
Corrections have keys of their own, which labelling never writes.
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
# Prefix for images whose label key would exceed S3's limit on the length of keys.
_LONG = ".long/"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_MAX_KEY_BYTES = 1024


class Source(BaseModel):
    """The version of the image that a label belongs to."""

    model_config = ConfigDict(frozen=True)

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is the empty object that S3's console creates for a folder; has no label."""
        return self.size == 0 and self.key.endswith("/")


class _Label(BaseModel):
    model_config = ConfigDict(frozen=True)

    source: Source
    labelled_at: str = Field(default_factory=lambda: _now())  # noqa: PLW0108 - defined below


class ImageLabel(Result, _Label):
    """The label of an image that was read: its result."""

    mode: Mode


class ErrorLabel(_Label):
    """The label of an image that can never be read: the error in place of a result."""

    text: None = None
    needs_review: Literal[True] = True
    reason: None = None
    error: ErrorInfo
    image: None = None
    model: ModelInfo
    mode: Mode | None


class Tombstone(_Label):
    """The label of a deleted image.

    It is stored in place of deleting the label: conditional writes can then detect that a delayed
    event of the image is older than the deletion.
    """

    deleted: Literal[True] = True


class KeptLabel(_Label):
    """An existing label to be stored again with a new date; unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @classmethod
    def of(cls, image: Source, data: bytes) -> KeptLabel | None:
        """Parse an object's bytes; None if it is not a label of this version of the image."""
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
    """The fields of a stored label of any kind.

    Every field is optional, because other programs can write to the bucket. Fields that a later
    version added are ignored.
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
        """Parse an object's bytes; return an instance without values if they are not a label."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return cls()

    @property
    def is_archived(self) -> bool:
        """Whether its error is that the image is archived and must be restored before reading."""
        return self.error is not None and self.error.code == Archived.code

    def is_of(self, image: Source) -> bool:
        """Whether this is the label of that version of the image.

        An image without an ETag is a deletion, whose label is a tombstone; so is the label of a
        folder. S3 lists the version id of unversioned objects as "null", or not at all; then the
        ETag and the size are compared.
        """
        if image.etag is None or image.is_folder:
            return self.deleted
        if self.source is None:
            return False
        version = None if image.version_id is None else self.source.version_id or "null"
        return self.source.model_copy(update={"version_id": version}) == image


class Correction(BaseModel):
    """A person's correction of the label of an image."""

    model_config = ConfigDict(frozen=True)

    source: Source
    truth: Annotated[str, when_written(corrections.valid)]
    corrected_at: str = Field(default_factory=lambda: _now())  # noqa: PLW0108 - defined below

    def is_of(self, image: Source) -> bool:
        """Whether it belongs to the image's current content, by ETag and size."""
        return (self.source.etag, self.source.size) == (image.etag, image.size)


def label_key(image_key: str) -> str:
    """Return the key of an image's label: ``labels/<image key>.json``.

    If that key would be too long, it is ``labels/.long/<SHA-256 of the image key>.json``. The same
    holds for image keys that start with ``.long/``, which could otherwise collide with those.
    """
    return _key(PREFIX, image_key)


def correction_key(image_key: str) -> str:
    """Return the key of a correction: as `label_key`, with ``corrections/`` for ``labels/``."""
    return _key(CORRECTIONS, image_key)


def _key(prefix: str, image_key: str) -> str:
    key = f"{prefix}{image_key}.json"
    if len(key.encode()) <= _MAX_KEY_BYTES and not image_key.startswith(_LONG):
        return key
    return f"{prefix}{_LONG}{hashlib.sha256(image_key.encode()).hexdigest()}.json"


def label(result: Result, source: Source, mode: Mode) -> ImageLabel:
    """Return the label of an image that was read in `mode`."""
    return ImageLabel(
        **{name: getattr(result, name) for name in Result.model_fields}, source=source, mode=mode
    )


def error_label(
    error: DigitsError, source: Source, mode: Mode | None, model: ModelInfo
) -> ErrorLabel:
    """Return the label of an image that can never be read because of `error`."""
    return ErrorLabel(error=ErrorInfo.of(error), source=source, mode=mode, model=model)


def _now() -> str:
    """Return the time in UTC to the microsecond, so that labels of an image differ in bytes."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
