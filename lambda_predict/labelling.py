"""Write the label of one image so that it agrees with the image's current state.

Events may arrive late, twice and out of order, so an event only triggers a read: the bucket's
content at that moment decides. The function reads the ETag of the existing label *first*, then the
image, and writes the new label on the condition that the existing one has not changed.

The last label is right whatever runs at the same time: each change of an image has an event, and
handling each event ends with a write. So after the last change there is a write that read the image
after that change. Every later write was conditional on a label at least that new, whose ETag was
read *before* the image; so it, too, read the image after the last change.

Therefore a label is written even if the existing one is equal. Without that write, a slower
function could win that read the image while it was different for a moment (deleted and restored,
for example). A tombstone is written for the same reason: a missing label has no ETag to compare.

An image that S3 has archived cannot be read. It keeps its earlier label, or gets one with the error
`archived`; the event of its restoration triggers its labelling.
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
from lambda_predict.classification import classify
from lambda_predict.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Metadata of an image that overrides the stack's label mode.
MODE_METADATA = "digits-mode"
_ATTEMPTS = 5
_MODE: TypeAdapter[Mode] = TypeAdapter(Mode)


class Labeller:
    """Writes labels of images in any bucket to one labels bucket. Safe to share between threads.

    Threads wait for S3 concurrently, but classify images one at a time: there is one processor, and
    the memory suffices for one image of the largest size, not for several.

    Parameters
    ----------
    s3
        The client that reads images and labels and writes labels.
    labels_bucket
        Bucket for the labels; never the images bucket.
    default_mode
        The mode for an image whose metadata does not set one.
    """

    def __init__(self, s3: S3Client, labels_bucket: str, default_mode: Mode) -> None:
        self._s3 = s3
        self._labels = LabelStore(s3, labels_bucket)
        self._default_mode = default_mode
        self._reading = threading.Lock()
        self._busy: set[str] = set()
        self._free = threading.Condition()

    def reconcile(self, bucket: str, key: str, classifier: Classifier) -> None:
        """Write the label of the current image at `key`.

        Raises
        ------
        Conflict
            If others kept changing this label first; a later retry is safe.
        ClientError, BotoCoreError
            If S3 fails or denies access; a later retry is safe.
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
        raise Conflict(f"The label of {key} kept changing: the queue retries it.")

    @contextmanager
    def _alone_with(self, key: str) -> Iterator[None]:
        """Lock the label of this key: of several threads at once, only one could write."""
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
        """Read the image and return its label."""
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
        """Return the label from before the image was archived, else one with the error `archived`.

        The earlier label gets a new date, so that its ETag changes: see the module's docstring.
        """
        answer = _head_or_none(self._s3, bucket, key)
        if answer is None:
            return Tombstone(source=Source(bucket=bucket, key=key))
        source = _source(bucket, key, answer)
        if kept := self._labels.label_of(source):
            return kept
        archived = Archived(
            f"The object is archived ({answer.get('StorageClass', 'unknown class')}) and cannot be"
            " read: restore it to have it labelled."
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
    """Return the image version of S3's answer to a GET or a HEAD."""
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
    """Return S3's answer, or None if there is no object (or only a delete marker)."""
    try:
        return s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return None


def _read_body(answer: Any) -> bytes:
    """Return the object's bytes. Raises `TooLarge` if it has more than `MAX_BYTES`."""
    if answer["ContentLength"] > MAX_BYTES:
        answer["Body"].close()
        raise TooLarge(
            f"The object has {answer['ContentLength']:,} bytes, but at most {MAX_BYTES:,} are"
            " allowed: upload a smaller image."
        )
    data: bytes = answer["Body"].read()
    return data
