"""Injected faults of S3, seen through the real labels function.

Hooks of botocore answer in place of the network, so that botocore's retries, timeouts and length
checks work as on AWS.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from urllib3 import HTTPResponse

from tests.bundles import Killed
from tests.integration.conftest import IMAGES, LABELS, fresh
from tests.integration.test_s3_labels import batch, failures, s3_event

SICK, WELL = "sick.png", "well.png"


def refused(status: int, code: str):
    """Build an error answer of S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html."""

    def answer(request: Any) -> AWSResponse:
        return response(request, status, f"<Error><Code>{code}</Code></Error>".encode(), {})

    return answer


def cut_off(request: Any) -> AWSResponse:
    """Answer with half of the announced bytes."""
    headers = {"Content-Length": "1000", "ETag": '"0"', "x-amz-version-id": "1"}
    return response(request, 200, b"\x89PNG\r\n\x1a\n" + bytes(492), headers)


def too_slow(request: Any) -> AWSResponse:
    raise ReadTimeoutError(endpoint_url=request.url)


def response(request: Any, status: int, body: bytes, headers: dict[str, str]) -> AWSResponse:
    raw = HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)
    return AWSResponse(request.url, status, headers, raw)


FAULTS = {
    "S3 throttles": ("GetObject", refused(503, "SlowDown")),
    "S3 throttles the HEAD of the label": ("HeadObject", refused(503, "SlowDown")),
    "S3 fails": ("GetObject", refused(500, "InternalError")),
    "reading is not allowed": ("GetObject", refused(403, "AccessDenied")),
    "S3 is too slow": ("GetObject", too_slow),
    "the image is cut off": ("GetObject", cut_off),
}


@contextmanager
def fault(module: Any, call: str, answer: Any) -> Iterator[list[str]]:
    """Answer calls for the image SICK with `answer`; yield the list of such requests."""
    asked: list[str] = []

    def answer_instead(request: Any, **_: Any) -> AWSResponse | None:
        if SICK not in request.url:
            return None
        asked.append(request.url)
        return answer(request)

    events = module.labeller()._s3.meta.events
    events.register_first(f"before-send.s3.{call}", answer_instead)
    try:
        yield asked
    finally:
        events.unregister(f"before-send.s3.{call}", answer_instead)


@pytest.fixture
def images(s3, seven):
    for key in (SICK, WELL):
        s3.put_object(Bucket=IMAGES, Key=key, Body=seven)


def labels(s3) -> set[str]:
    return {it["Key"] for it in s3.list_objects_v2(Bucket=LABELS).get("Contents", [])}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("name", FAULTS)
def test_a_transient_s3_fault_is_retried_and_other_images_are_labelled(
    name, s3, s3_labels, context, label
):
    call, answer = FAULTS[name]
    messages = batch(s3_event(SICK), s3_event(WELL))
    with fault(s3_labels, call, answer) as asked:
        assert failures(s3_labels.handler(messages, context)) == ["message-0"]
    assert asked
    assert labels(s3) == {f"labels/{WELL}.json"}, (
        "a truncated download was treated as a broken image"
    )
    assert failures(s3_labels.handler(messages, context)) == []
    assert [label(key)["text"] for key in (SICK, WELL)] == ["7", "7"]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (403, "AccessDenied")])
def test_a_label_that_s3_refuses_is_written_on_the_next_delivery(
    s3, s3_labels, context, label, status, code
):
    def refuse(
        params: Any, **_: Any
    ) -> Any:  # before the request, or moto would still write the label
        if SICK not in params["url_path"]:
            return None
        parsed = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return SimpleNamespace(status_code=status), parsed

    messages = batch(s3_event(SICK), s3_event(WELL))
    events = s3_labels.labeller()._s3.meta.events
    events.register("before-call.s3.PutObject", refuse)
    assert failures(s3_labels.handler(messages, context)) == ["message-0"]
    events.unregister("before-call.s3.PutObject", refuse)
    assert labels(s3) == {f"labels/{WELL}.json"}
    assert failures(s3_labels.handler(messages, context)) == []
    assert label(SICK)["text"] == "7"


@pytest.mark.usefixtures("images")
def test_a_label_whose_write_was_not_confirmed_is_written_again(s3_labels, context, label):
    messages = batch(s3_event(SICK))
    with fault(s3_labels, "PutObject", refused(500, "InternalError")) as asked:
        assert failures(s3_labels.handler(messages, context)) == ["message-0"]
    assert asked
    assert label(SICK)["text"] == "7", "moto wrote it, as S3 may have"
    assert failures(s3_labels.handler(messages, context)) == []
    assert label(SICK)["text"] == "7"


@pytest.mark.usefixtures("images")
def test_a_message_without_time_left_is_returned_unprocessed(s3, s3_labels, context):
    late = SimpleNamespace(**{**vars(context), "get_remaining_time_in_millis": lambda: 5_000})
    assert failures(s3_labels.handler(batch(s3_event(WELL)), late)) == ["message-0"]
    assert labels(s3) == set()


@pytest.mark.usefixtures("images")
def test_an_image_that_kills_the_function_delays_its_batch_only_once(
    s3, s3_labels, queues, context, label, seven
):
    """Out of memory or time, Lambda gives no answer, and the whole batch is delivered again."""
    others = [f"{number}.png" for number in range(4)]
    for key in others:
        s3.put_object(Bucket=IMAGES, Key=key, Body=seven)

    def die(request: Any) -> AWSResponse:
        raise Killed

    queues.send(*(s3_event(key) for key in (*others[:2], SICK, *others[2:])))
    with fault(s3_labels, "GetObject", die):
        batches = queues.deliver(context)
    assert len(batches[0]) == 5
    assert all(len(it) == 1 for it in batches[1:])
    assert [label(key)["text"] for key in others] == ["7"] * 4
    (dead,) = queues.dead()
    assert SICK in dead


def test_a_function_without_its_labels_bucket_logs_it_and_returns_the_message(
    environment, s3, context, seven, caplog
):
    environment.delenv("DIGITS_LABELS_BUCKET")
    s3.put_object(Bucket=IMAGES, Key=WELL, Body=seven)
    module = fresh("s3_labels")
    assert failures(module.handler(batch(s3_event(WELL)), context)) == ["message-0"]
    assert "DIGITS_LABELS_BUCKET" in caplog.text
