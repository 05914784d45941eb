"""Corrections of what was read, kept for a person's review before anything is trained on them."""

from __future__ import annotations

import io
import secrets
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from PIL import Image

from digits.image import Picture
from digits.labels.feedback import IMAGE, PREFIX, RECORD, Correction
from lambda_predict.schemas import FeedbackRequest
from lambda_predict.uploads import storage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def keep(s3: S3Client, bucket: str, given: FeedbackRequest, picture: Picture) -> Correction:
    """Store a correction and its picture; nothing in that bucket triggers anything.

    What is kept of the picture are the grey pixels that the recogniser reads, as PNG: place, time
    and camera stay behind, and training on them is training on the same frame. The record is
    written last, so one that is there has its picture.

    Raises
    ------
    StorageUnavailable
        If S3 does not answer, or refuses.
    """
    now = datetime.now(timezone.utc)
    correction = Correction(
        id=secrets.token_urlsafe(16),
        received_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        truth=given.truth,
        answer=given.answer,
        model=given.model,
        key=given.key or None,
    )
    png = io.BytesIO()
    Image.fromarray(picture.grey).save(png, "PNG")
    folder = f"{PREFIX}{now:%Y-%m-%d}/{correction.id}/"
    record = correction.model_dump_json().encode()
    with storage():
        s3.put_object(
            Bucket=bucket, Key=folder + IMAGE, Body=png.getvalue(), ContentType="image/png"
        )
        s3.put_object(
            Bucket=bucket, Key=folder + RECORD, Body=record, ContentType="application/json"
        )
    return correction
