"""Make the label of one image agree with the image's current state.

Events may come late, twice and out of order, so an event is only a hint to look: what the bucket
holds at that moment decides. The tag of the label that is there is read *first*, then the image,
and the new label is written on the condition that the old one is still there.

Why the last label is right, whatever runs beside it: each change of an image has an event, and each
event's work ends with a write. So after the last change there is a write whose look at the image
came after it. Every later write was conditional on a label that is at least that new, read *before*
the image was looked at; so its look, too, came after the last change.

It follows that a label is written even where the one that is there says the same: to leave out that
write is to let a slower function win that looked while the image was something else for a moment
(deleted and revived, say). A tombstone is written for the same reason; a gap could lose to nothing.

An image that S3 has archived cannot be read. It keeps the label that it got before, or gets one
that says `archived`; the event of its restoration brings the label of what is in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import TypeAdapter, ValidationError

from digits.classifier import Classifier
from digits.errors import Archived, BadRequest, Conflict, ImageError, TooLarge
from digits.image import MAX_BYTES
from digits.labels.label import Label, Source, Tombstone, error_label, label
from digits.labels.store import LabelStore
from digits.results import Mode
from lambda_predict.observability import classify, logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Metadata of an image that overrides the stack's label mode.
MODE_METADATA = "digits-mode"
_ATTEMPTS = 5
_MODE: TypeAdapter[Mode] = TypeAdapter(Mode)


class Labeller:
    """Writes labels of images in any bucket to one labels bucket. Safe to share between threads.

    Threads wait for S3 side by side, but read images one at a time: there is one processor, and the
    memory is measured for the largest image, not for several.

    Parameters
    ----------
    s3
        The client that reads images and labels and writes labels.
    labels_bucket
        Where labels go; never the bucket that the images are in.
    default_mode
        How to read an image whose metadata does not say.
    """

    def __init__(self, s3: S3Client, labels_bucket: str, default_mode: Mode) -> None:
        self._s3 = s3
        self._labels = LabelStore(s3, labels_bucket)
        self._default_mode = default_mode
        self._reading = threading.Lock()
        self._busy: set[str] = set()
        self._free = threading.Condition()

    def reconcile(self, bucket: str, key: str, classifier: Classifier) -> None:
        """Write the label that the image at `key` should have now.

        Raises
        ------
        Conflict
            If others kept writing this label first; trying again later is safe.
        ClientError, BotoCoreError
            If S3 cannot be used just now, or may not be; trying again later is safe.
        """
        with self._alone_with(key):
            for _ in range(_ATTEMPTS):
                seen = self._labels.tag(key)
                new = self._label_of(bucket, key, classifier)
                if seen is None and new.source.is_folder:
                    return
                if self._labels.replace(key, new, seen=seen):
                    return
                logger.info("The label changed meanwhile; looking again", key=key)
        raise Conflict(f"The label of {key} kept changing; it is tried again later.")

    @contextmanager
    def _alone_with(self, key: str) -> Iterator[None]:
        """Keep other threads from the label of this key: all but one would look in vain."""
        with self._free:
            self._free.wait_for(lambda: key not in self._busy)
            self._busy.add(key)
        try:
            yield
        finally:
            with self._free:
                self._busy.discard(key)
                self._free.notify_all()

    def _label_of(self, bucket: str, key: str, classifier: Classifier) -> Label:
        """The label of the image as it is now."""
        try:
            answer = _get_or_none(self._s3, bucket, key)
        except self._s3.exceptions.InvalidObjectState:
            return self._label_of_archived(bucket, key, classifier)
        if answer is None:
            return Tombstone(source=Source(bucket=bucket, key=key))
        source = _source(bucket, key, answer)
        if source.is_folder:
            return Tombstone(source=source)
        mode: Mode | None = None
        try:
            mode = self._mode(answer["Metadata"])
            data = _read_body(answer)
            with self._reading:
                result = classify(classifier, data, mode=mode)
        except (ImageError, BadRequest) as error:
            return error_label(error, source, mode, classifier.model_info)
        return label(result, source, mode)

    def _label_of_archived(self, bucket: str, key: str, classifier: Classifier) -> Label:
        """The label that the image got before it was archived; else that it is archived.

        The former is dated anew, for its tag has to change: see this module's first lines.
        """
        answer = _head_or_none(self._s3, bucket, key)
        if answer is None:
            return Tombstone(source=Source(bucket=bucket, key=key))
        source = _source(bucket, key, answer)
        if kept := self._labels.label_of(source):
            return kept
        archived = Archived(
            f"The object is archived ({answer.get('StorageClass', 'unknown class')}) and cannot be"
            " read; restore it, and it is labelled."
        )
        logger.info("The image is archived", key=key)
        return error_label(archived, source, None, classifier.model_info)

    def _mode(self, metadata: dict[str, str]) -> Mode:
        given = metadata.get(MODE_METADATA, self._default_mode)
        try:
            return _MODE.validate_python(given)
        except ValidationError as error:
            raise BadRequest(
                f"The object's metadata {MODE_METADATA!r} must be 'single' or 'multiple'."
            ) from error


def _source(bucket: str, key: str, answer: Any) -> Source:
    """The version of an image that S3's answer to a GET or a HEAD is about."""
    return Source(
        bucket=bucket,
        key=key,
        version_id=answer.get("VersionId"),
        etag=answer["ETag"].strip('"'),
        size=answer["ContentLength"],
    )


def _head_or_none(s3: S3Client, bucket: str, key: str) -> Any | None:
    """As `_get_or_none`, without the body."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":  # a HEAD has no body to name the error
            return None
        raise


def _get_or_none(s3: S3Client, bucket: str, key: str) -> Any | None:
    """S3's answer, or None where there is no object (a delete marker included)."""
    try:
        return s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return None


def _read_body(answer: Any) -> bytes:
    """The object's bytes, unless there are more than any interface takes."""
    if answer["ContentLength"] > MAX_BYTES:
        answer["Body"].close()
        raise TooLarge(
            f"The object has {answer['ContentLength']:,} bytes, but at most {MAX_BYTES:,} are"
            " taken; upload a smaller picture."
        )
    data: bytes = answer["Body"].read()
    return data
