"""Drop pictures in the bucket, post them to the API, and compare what comes back with the truth."""

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
    """One picture, and the JSON that each interface answered with."""

    picture: Picture
    label: dict[str, Any]
    answer: dict[str, Any]
    milliseconds: float

    @property
    def is_right(self) -> bool:
        """Whether both answers are right or honest: marked for review, or refused if no image."""
        return all(_is_right(self.picture, json) for json in (self.label, self.answer))


def drop(s3: S3Client, deployment: Deployment, pictures: Sequence[Picture]) -> None:
    """Put every picture in the images bucket."""
    for picture in pictures:
        s3.put_object(Bucket=deployment.images_bucket, Key=picture.key, Body=picture.data)


def wait_for_labels(
    s3: S3Client,
    deployment: Deployment,
    pictures: Sequence[Picture],
    seen: Callable[[], None],
) -> dict[str, dict[str, Any]]:
    """The label of each key; `seen` is called as each one arrives.

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
    """Post one picture to the API: the JSON that came back, and how many milliseconds it took."""
    headers = {"x-api-key": deployment.api_key, "Content-Type": "application/octet-stream"}
    started = time.perf_counter()
    answer = urllib3.request(
        "POST", f"{deployment.api_url}/classify", body=picture.data, headers=headers, timeout=30
    )
    milliseconds = (time.perf_counter() - started) * 1000
    try:
        body: dict[str, Any] = answer.json()
    except ValueError as error:
        raise Failed(f"the API answered {answer.status} with no JSON for {picture.key}") from error
    return body, milliseconds


def table(rows: Sequence[Row]) -> Table:
    """One line a picture, as `make run` shows them."""
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
    """The code of a label's error or of an API's problem."""
    code: str | None = answer.get("code") or answer.get("error", {}).get("code")
    return code
