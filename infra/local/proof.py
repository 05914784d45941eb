"""Upload images to the bucket, post them to the API, and compare the answers with the truth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import urllib3
from rich.table import Table

from digits.labels.label import label_key
from infra.local.cloud import Deployment
from infra.local.pictures import Picture
from infra.local.processes import Failed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LABELS_WITHIN_SECONDS = 60.0


@dataclass(frozen=True)
class Row:
    """One image, and the JSON answer of each interface."""

    picture: Picture
    label: dict[str, Any]
    answer: dict[str, Any]
    milliseconds: float

    @property
    def is_right(self) -> bool:
        """Whether no answer is an accepted error, and a file without an image got an error code."""
        return all(_is_right(self.picture, json) for json in (self.label, self.answer))


def drop(s3: S3Client, deployment: Deployment, pictures: Sequence[Picture]) -> None:
    """Upload every image to the images bucket."""
    for picture in pictures:
        s3.put_object(Bucket=deployment.images_bucket, Key=picture.key, Body=picture.data)


def wait_for_labels(
    s3: S3Client,
    deployment: Deployment,
    pictures: Sequence[Picture],
    seen: Callable[[], None],
) -> dict[str, dict[str, Any]]:
    """Wait for the label of each key; `seen` is called as each one arrives.

    Raises
    ------
    Failed
        If one is still missing after a minute.
    """
    labels: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + _LABELS_WITHIN_SECONDS
    while len(labels) < len(pictures):
        for picture in pictures:
            if picture.key in labels:
                continue
            try:
                answer = s3.get_object(Bucket=deployment.labels_bucket, Key=label_key(picture.key))
            except s3.exceptions.NoSuchKey:
                continue
            labels[picture.key] = json.loads(answer["Body"].read())
            seen()
        if time.monotonic() > deadline:
            missing = [picture.key for picture in pictures if picture.key not in labels]
            raise Failed(f"no label came for {', '.join(missing)}")
        time.sleep(0.1)
    return labels


def post(deployment: Deployment, picture: Picture) -> tuple[dict[str, Any], float]:
    """Post one image to the API; return the JSON answer, and the time in milliseconds."""
    headers = {"x-api-key": deployment.api_key, "Content-Type": "application/octet-stream"}
    started = time.perf_counter()
    answer = urllib3.request(
        "POST", f"{deployment.api_url}/classify", body=picture.data, headers=headers, timeout=30
    )
    milliseconds = (time.perf_counter() - started) * 1000
    try:
        body: dict[str, Any] = answer.json()
    except ValueError as error:
        raise Failed(f"the API answered {answer.status} without JSON for {picture.key}") from error
    return body, milliseconds


def table(rows: Sequence[Row]) -> Table:
    """Build the table of `make run`, one row an image."""
    drawn = Table(title="Labels by S3 and by HTTP", title_justify="left")
    for name in ("image", "truth", "label by S3", "label by HTTP", "confidence", "ms (HTTP)", ""):
        drawn.add_column(name, justify="right" if name in ("confidence", "ms (HTTP)") else "left")
    for row in rows:
        truth = "no image" if row.picture.truth is None else str(row.picture.truth)
        digits = row.answer.get("digits")
        drawn.add_row(
            row.picture.key,
            truth,
            _shown(row.label),
            _shown(row.answer),
            f"{digits[0]['confidence']:.2%}" if digits else "",
            f"{row.milliseconds:.0f}",
            "[green]✓[/]" if row.is_right else "[red]✗[/]",
        )
    return drawn


def _is_right(picture: Picture, answer: dict[str, Any]) -> bool:
    code = _error_code(answer)
    if picture.truth is None or code:
        return picture.truth is None and code == "unsupported_format"
    return answer["text"] == str(picture.truth) or bool(answer["needs_review"])


def _shown(answer: dict[str, Any]) -> str:
    code = _error_code(answer)
    if code:
        return code
    return (answer["text"] or "–") + (f" ({answer['reason']})" if answer["reason"] else "")


def _error_code(answer: dict[str, Any]) -> str | None:
    """Return the code of a label's error or of an API's problem."""
    code: str | None = answer.get("code") or answer.get("error", {}).get("code")
    return code
