"""The errors that are reported to users, each with a stable code and an HTTP status.

The codes are part of the public contract: they appear in the API's problems, in label objects and
in the CLI's JSON. A message says what is wrong and what to do, and never contains input bytes.
"""

from __future__ import annotations

from typing import ClassVar


class DigitsError(Exception):
    """Base class of all expected errors; ``str(error)`` can be shown to users.

    Attributes
    ----------
    code : str
        Stable machine-readable name.
    http_status : int
        The HTTP status of the API's response to this error.
    """

    code: ClassVar[str]
    http_status: ClassVar[int]


class BadRequest(DigitsError):
    """The request or command is malformed, independent of any image's content."""

    code = "bad_request"
    http_status = 400


class ImageError(DigitsError):
    """The image cannot be read, and a retry cannot succeed."""


class TooLarge(ImageError):
    """The image has more bytes or pixels than the documented limits."""

    code = "too_large"
    http_status = 413


class UnsupportedFormat(ImageError):
    """The bytes are not an image of a supported format."""

    code = "unsupported_format"
    http_status = 415


class UnreadableImage(ImageError):
    """The bytes start like a supported format, but cannot be decoded or have too few pixels."""

    code = "unreadable_image"
    http_status = 422


class Archived(DigitsError):
    """The object is in an S3 archive storage class and must be restored before it can be read."""

    code = "archived"
    http_status = 409


class ModelUnavailable(DigitsError):
    """No model can be loaded: missing, incomplete, corrupted or of an unsupported schema."""

    code = "model_unavailable"
    http_status = 503


class Conflict(DigitsError):
    """Another writer changed the object first. It is safe to read it again and retry."""

    code = "conflict"
    http_status = 409


class NotFound(DigitsError):
    """Nothing of that name exists."""

    code = "not_found"
    http_status = 404


class StorageUnavailable(DigitsError):
    """The storage cannot be used: no bucket is configured, or S3 does not answer."""

    code = "storage_unavailable"
    http_status = 503
