"""Make the label of one image agree with the image's current state.

Events may come late, twice and out of order, so an event is only a hint to look: what the bucket
holds at that moment decides. The label that is there is read *first*, then the image, and the new
label is written on the condition that the old one is still there. So the last writer always saw the
newest image: if the image changed after it looked, that change's own event writes later, or makes
it lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, TypeAdapter, ValidationError

from digits.classifier import Classifier
from digits.errors import BadRequest, Conflict, ImageError, TooLarge
from digits.image import MAX_BYTES
from digits.labels import Label, Source, Tombstone, error_label, label, label_key
from digits.results import Mode, ModelInfo
from lambda_predict.observability import classify, logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Metadata of an image that overrides the stack's label mode.
MODE_METADATA = "digits-mode"
_ATTEMPTS = 5
_MODE: TypeAdapter[Mode] = TypeAdapter(Mode)


class _Seen(BaseModel):
    """What a label speaks of; nothing, where it is a tombstone or somebody else's writing."""

    source: Source | None = None
    model: ModelInfo | None = None


@dataclass(frozen=True)
class _Written:
    """The label that is there, and the tag to write against."""

    etag: str
    seen: _Seen


class Labeller:
    """Writes labels of images in any bucket to one labels bucket.

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
        self._labels_bucket = labels_bucket
        self._default_mode = default_mode

    def reconcile(self, bucket: str, key: str, classifier: Classifier) -> None:
        """Write the label that the image at `key` should have now.

        Raises
        ------
        Conflict
            If others kept writing this label first; trying again later is safe.
        ClientError, BotoCoreError
            If S3 cannot be used just now, or may not be; trying again later is safe.
        """
        for _ in range(_ATTEMPTS):
            written = self._read_label(key)
            new = self._label_of(bucket, key, classifier, written)
            if new is None or self._write_label(key, new, written):
                return
            logger.info("The label changed meanwhile; looking again", key=key)
        raise Conflict(f"The label of {key} kept changing; it is tried again later.")

    def _read_label(self, key: str) -> _Written | None:
        answer = _get_or_none(self._s3, self._labels_bucket, label_key(key))
        if answer is None:
            return None
        try:
            seen = _Seen.model_validate_json(answer["Body"].read())
        except ValidationError:
            seen = _Seen()
        return _Written(answer["ETag"], seen)

    def _label_of(
        self, bucket: str, key: str, classifier: Classifier, written: _Written | None
    ) -> Label | None:
        """The label of the image as it is now; None if `written` says the same already."""
        answer = _get_or_none(self._s3, bucket, key)
        if answer is None:
            return Tombstone(source=Source(bucket=bucket, key=key))
        source = Source(
            bucket=bucket,
            key=key,
            version_id=answer.get("VersionId"),
            etag=answer["ETag"].strip('"'),
            size=answer["ContentLength"],
        )
        model = classifier.model_info
        if written and source.version_id and written.seen == _Seen(source=source, model=model):
            answer["Body"].close()
            return None
        mode: Mode | None = None
        try:
            mode = self._mode(answer["Metadata"])
            data = _read_body(answer)
            result = classify(classifier, data, mode=mode)
        except (ImageError, BadRequest) as error:
            return error_label(error, source, mode, model)
        return label(result, source, mode)

    def _mode(self, metadata: dict[str, str]) -> Mode:
        given = metadata.get(MODE_METADATA, self._default_mode)
        try:
            return _MODE.validate_python(given)
        except ValidationError as error:
            raise BadRequest(
                f"The object's metadata {MODE_METADATA!r} must be 'single' or 'multiple'."
            ) from error

    def _write_label(self, key: str, new: Label, written: _Written | None) -> bool:
        """Replace the label that was read; False if somebody else was quicker."""
        condition = {"IfMatch": written.etag} if written else {"IfNoneMatch": "*"}
        try:
            self._s3.put_object(
                Bucket=self._labels_bucket,
                Key=label_key(key),
                Body=new.model_dump_json().encode(),
                ContentType="application/json",
                **condition,  # type: ignore[arg-type]
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in (
                "PreconditionFailed",
                "ConditionalRequestConflict",
            ):
                return False
            raise
        return True


def _get_or_none(s3: S3Client, bucket: str, key: str) -> Any | None:
    """S3's answer, or None where there is no object (a delete marker included)."""
    try:
        return s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return None


def _read_body(answer: Any) -> bytes:
    """The object's bytes, unless there are more than any door takes."""
    if answer["ContentLength"] > MAX_BYTES:
        answer["Body"].close()
        raise TooLarge(
            f"The object has {answer['ContentLength']:,} bytes, but at most {MAX_BYTES:,} are"
            " taken; upload a smaller picture."
        )
    data: bytes = answer["Body"].read()
    return data
