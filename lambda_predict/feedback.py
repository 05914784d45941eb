"""Corrections of what was read, kept for a person's review before anything is trained on them."""

from __future__ import annotations

import io
import secrets
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

from PIL import Image
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from digits.image import Picture
from digits.labels import corrections
from digits.labels.feedback import IMAGE, PREFIX, RECORD, Correction
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
    """A correction of a picture that is sent as `image`, or was uploaded under `key`; not both."""

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
            " a mark that is neither; lines joined by a newline, pages by a form feed; empty where"
            " there is nothing to read.",
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
            description="Of an image uploaded before.",
            examples=[EXAMPLE_KEY],
            json_schema_extra=without_default,
        ),
    ] = ""
    model: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            description="Version of the model that answered.",
            examples=[EXAMPLE_VERSION],
        ),
    ]
    answer: Annotated[
        _CorrectionText | None,
        Field(description="The `text` that was given."),
    ] = None

    @model_validator(mode="after")
    def _one_picture(self) -> FeedbackRequest:
        if bool(self.image) == bool(self.key):
            raise ValueError("give either image or key")
        return self


class FeedbackKept(Body):
    """The correction is kept until a person looks at it."""

    id: str


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
