"""The functions' settings: the environment, read and validated once."""

from __future__ import annotations

import os
from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from digits.results import Mode

_PREFIX = "DIGITS_"


class Settings(BaseModel):
    """Settings that `template.yaml` sets, each as ``DIGITS_`` and its name in capitals."""

    model_config = ConfigDict(frozen=True)

    models: Annotated[str | None, Field(description="Model registry: a folder or s3://bucket.")] = (
        None
    )
    model_refresh_seconds: Annotated[float, Field(ge=0)] = 60
    images_bucket: str | None = None
    labels_bucket: str | None = None
    labels_queue_url: str | None = None
    sweep_grace_seconds: Annotated[
        float,
        Field(
            ge=0,
            description="The sweep skips images that changed within this time: events are due.",
        ),
    ] = 900
    label_mode: Mode = "single"
    digit_metrics: Annotated[
        bool, Field(description="Whether to count the digits of each kind: ten paid metrics.")
    ] = True
    cors_origin: str | None = None


@cache
def settings() -> Settings:
    """Return this process's settings. Raises pydantic's `ValidationError`, naming a wrong one."""
    given = {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(_PREFIX) and value
    }
    return Settings.model_validate(given)


def buckets_and_queue() -> tuple[str, str, str]:
    """Return the images bucket, the labels bucket and the labels queue's URL.

    Raises
    ------
    RuntimeError
        If one of them is not set.
    """
    given = settings()
    if not (given.images_bucket and given.labels_bucket and given.labels_queue_url):
        raise RuntimeError(
            "DIGITS_IMAGES_BUCKET, DIGITS_LABELS_BUCKET and DIGITS_LABELS_QUEUE_URL must be set;"
            " deploy the function with template.yaml."
        )
    return given.images_bucket, given.labels_bucket, given.labels_queue_url
