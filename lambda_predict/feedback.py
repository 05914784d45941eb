"""Store corrections that users send, for a person's review before training."""

from __future__ import annotations

import io
import secrets
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

from PIL import Image
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from digits.image import Picture
from digits.labels import corrections
from digits.labels.feedback import IMAGE, PREFIX, RECORD, Feedback
from lambda_predict.schemas import (
    BASE64,
    EXAMPLE_KEY,
    EXAMPLE_VERSION,
    UPLOAD_KEY,
    Body,
    encoded_without_default,
    without_default,
)
from lambda_predict.uploads import storage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_CorrectionText = Annotated[
    str,
    AfterValidator(corrections.valid),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": corrections.PATTERN,
            "maxLength": corrections.MAX_CHARACTERS,
        }
    ),
]


class FeedbackRequest(Body):
    """A correction of an image that is sent as `image` or was uploaded under `key`; not both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [{"required": ["image"]}, {"required": ["key"]}],
            "examples": [{"truth": "7", "key": EXAMPLE_KEY, "model": EXAMPLE_VERSION}],
        },
    )

    truth: Annotated[
        _CorrectionText,
        Field(
            description="The digits and signs (`. , - + / : ( ) = × ÷ %`) in reading order, `?` for"
            " a mark that is neither; a newline between lines, a form feed between pages; empty if"
            " there are no marks.",
            examples=["7", "12/05/2024"],
        ),
    ]
    image: Annotated[
        str,
        Field(
            min_length=1,
            description=BASE64,
            json_schema_extra=encoded_without_default,
        ),
    ] = ""
    key: Annotated[
        str,
        Field(
            pattern=UPLOAD_KEY,
            description="Key of an image that was uploaded before.",
            examples=[EXAMPLE_KEY],
            json_schema_extra=without_default,
        ),
    ] = ""
    model: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            description="Version of the model of the result.",
            examples=[EXAMPLE_VERSION],
        ),
    ]
    answer: Annotated[
        _CorrectionText | None,
        Field(description="The `text` of the result."),
    ] = None

    @model_validator(mode="after")
    def _one_picture(self) -> FeedbackRequest:
        if bool(self.image) == bool(self.key):
            raise ValueError("give either image or key")
        return self


class FeedbackKept(Body):
    """The correction is stored for review by a person."""

    id: str


def keep(s3: S3Client, bucket: str, given: FeedbackRequest, picture: Picture) -> Feedback:
    """Store a correction and its image; no function is triggered by it.

    The image is stored as a PNG of the grey pixels that the recogniser reads, without metadata such
    as place, time and camera; training on it gives the same frame. The record is written last, so
    every record has its image.

    Raises
    ------
    StorageUnavailable
        If S3 does not answer, or refuses.
    """
    now = datetime.now(timezone.utc)
    record = Feedback(
        id=secrets.token_urlsafe(16),
        received_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        truth=given.truth,
        answer=given.answer,
        model=given.model,
        key=given.key or None,
    )
    png = io.BytesIO()
    Image.fromarray(picture.grey).save(png, "PNG")
    folder = f"{PREFIX}{now:%Y-%m-%d}/{record.id}/"
    body = record.model_dump_json().encode()
    with storage():
        s3.put_object(
            Bucket=bucket, Key=folder + IMAGE, Body=png.getvalue(), ContentType="image/png"
        )
        s3.put_object(Bucket=bucket, Key=folder + RECORD, Body=body, ContentType="application/json")
    return record
