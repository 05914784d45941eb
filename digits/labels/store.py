"""The labels bucket: the one place that reads and writes labels and corrections in S3.

It is given its client, so importing it imports no AWS. What S3 refuses is raised as botocore's own
`ClientError` or `BotoCoreError`: each interface says in its own words what that means.
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

# What S3 answers to a conditional write if another one came first, or the old object is gone.
_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")


class LabelStore:
    """Labels and corrections of images, by the images' keys. Safe to share between threads.

    Parameters
    ----------
    s3
        The client that reads and writes.
    bucket
        The labels bucket.
    """

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def label(self, image_key: str) -> Written | None:
        """The label of an image; None if it has none, empty if what is there is no label."""
        return self.label_at(label_key(image_key))

    def label_at(self, key: str) -> Written | None:
        """The label in the object `key`, as a listing names it; otherwise as `label`."""
        data = self._read(key)
        return None if data is None else Written.read(data)

    def label_of(self, image: Source) -> KeptLabel | None:
        """The label of that version of an image, to be kept; None if it has none."""
        data = self._read(label_key(image.key))
        return None if data is None else KeptLabel.of(image, data)

    def tag(self, image_key: str) -> str | None:
        """The tag of an image's label, for `replace`; None if it has none."""
        try:
            return self._s3.head_object(Bucket=self._bucket, Key=label_key(image_key))["ETag"]
        except self._s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "404":  # a HEAD has no body to name the error
                return None
            raise

    def replace(self, image_key: str, new: Label, *, seen: str | None) -> bool:
        """Write a label, provided that the one in the bucket is the one that was seen.

        Parameters
        ----------
        image_key, new
            The image's key, and its new label.
        seen
            The `tag` that the label had; None if there was none.

        Returns
        -------
        Whether it was written; it was not if another write came first.
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
        """The correction of an image's label; None if there is none or it is not valid."""
        data = self._read(correction_key(image_key))
        try:
            return None if data is None else read(Correction, data)
        except ValidationError:
            return None

    def correct(self, correction: Correction) -> str:
        """Write a correction in place of any earlier one; returns the address it is kept at."""
        key = correction_key(correction.source.key)
        self._write(key, correction)
        return f"s3://{self._bucket}/{key}"

    def _read(self, key: str) -> bytes | None:
        """The bytes of an object; None if there is none."""
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
