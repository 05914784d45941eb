"""The label store: read and write labels and corrections in the labels bucket.

The caller passes the client, so this module does not import boto3. S3's errors are raised as
botocore's `ClientError` or `BotoCoreError`; each interface turns them into its own messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from digits.labels.label import (
    Correction,
    KeptLabel,
    Label,
    Source,
    Written,
    correction_key,
    label_key,
)
from digits.results import read

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# S3's error codes for a conditional write that failed: the object was changed or deleted before.
_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")


class LabelStore:
    """Labels and corrections of images, by the images' keys. Safe to share between threads.

    Parameters
    ----------
    s3
        The client for all requests.
    bucket
        The labels bucket.
    """

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def label(self, image_key: str) -> Written | None:
        """Read the label of an image; None if it has none, empty if its object is not a label."""
        return self.label_at(label_key(image_key))

    def label_at(self, key: str) -> Written | None:
        """Read the label in the object `key`, which a listing named; otherwise as `label`."""
        data = self._read(key)
        return None if data is None else Written.read(data)

    def label_of(self, image: Source) -> KeptLabel | None:
        """Read the label of this version of an image, to be stored again; None if it has none."""
        data = self._read(label_key(image.key))
        return None if data is None else KeptLabel.of(image, data)

    def tag(self, image_key: str) -> str | None:
        """Read the ETag of an image's label, for `replace`; None if it has none."""
        try:
            return self._s3.head_object(Bucket=self._bucket, Key=label_key(image_key))["ETag"]
        except self._s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "404":  # a HEAD has no body to name the error
                return None
            raise

    def replace(self, image_key: str, new: Label, *, seen: str | None) -> bool:
        """Replace the label if it has not changed since its `tag` was read.

        Parameters
        ----------
        image_key, new
            The image's key, and its new label.
        seen
            The `tag` of the label to replace; None if there was no label.

        Returns
        -------
        False if another write came first; the label is then as that write left it.
        """
        condition = {"IfMatch": seen} if seen else {"IfNoneMatch": "*"}
        try:
            self._write(label_key(image_key), new, **condition)
        except self._s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in _LOST:
                return False
            raise
        return True

    def correction(self, image_key: str) -> Correction | None:
        """Read the correction of an image's label; None if there is none or it is not valid."""
        data = self._read(correction_key(image_key))
        try:
            return None if data is None else read(Correction, data)
        except ValidationError:
            return None

    def correct(self, correction: Correction) -> str:
        """Write a correction in place of any earlier one, and return its address."""
        key = correction_key(correction.source.key)
        self._write(key, correction)
        return f"s3://{self._bucket}/{key}"

    def _read(self, key: str) -> bytes | None:
        """Read an object; None if it does not exist."""
        try:
            return self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except self._s3.exceptions.NoSuchKey:
            return None

    def _write(self, key: str, content: Label | Correction, **condition: Any) -> None:
        self._s3.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=content.model_dump_json().encode(),
            ContentType="application/json",
            **condition,
        )
