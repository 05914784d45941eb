"""Every error a user can meet, each with a stable code and the HTTP status that goes with it.

The codes are a contract: they appear in API problems, in label objects, in the command line's JSON.
A message says what is wrong and what to do about it, and never quotes the bytes it was given.
"""

from __future__ import annotations

from typing import ClassVar


class DigitsError(Exception):
    """Base of every expected failure; ``str(error)`` is fit to show to a person.

    Attributes
    ----------
    code : str
        Stable machine-readable name.
    http_status : int
        The HTTP status that answers a request with this error.
    """

    code: ClassVar[str]
    http_status: ClassVar[int]


class BadRequest(DigitsError):
    """The request itself is malformed: not about any one image."""

    code = "bad_request"
    http_status = 400


class ImageError(DigitsError):
    """Something about the image that no retry will mend: an answer, not a fault."""


class TooLarge(ImageError):
    """The image has more bytes or pixels than the published limits."""

    code = "too_large"
    http_status = 413


class UnsupportedFormat(ImageError):
    """The bytes are not an image in one of the published formats."""

    code = "unsupported_format"
    http_status = 415


class UnreadableImage(ImageError):
    """The bytes start like a known format but cannot be decoded, or are too few pixels to read."""

    code = "unreadable_image"
    http_status = 422


class Archived(DigitsError):
    """The object is in an archive of S3's: it must be restored before it can be read."""

    code = "archived"
    http_status = 409


class ModelUnavailable(DigitsError):
    """No model can be loaded: missing, half-published, tampered with or of another schema."""

    code = "model_unavailable"
    http_status = 503


class Conflict(DigitsError):
    """Somebody else wrote first; looking again and trying again is safe."""

    code = "conflict"
    http_status = 409


class NotFound(DigitsError):
    """There is nothing by that name."""

    code = "not_found"
    http_status = 404


class StorageUnavailable(DigitsError):
    """Nothing can be stored or looked up: no bucket is set, or it does not answer."""

    code = "storage_unavailable"
    http_status = 503
