"""The backfill's function, called with the events of its state machine, against moto."""

from __future__ import annotations

import io
import json
from collections import Counter

import boto3
import pytest

from digits.labels.label import label_key
from tests.conftest import GOLDEN
from tests.integration.conftest import IMAGES, LABELS, fresh


@pytest.fixture
def backfill(environment, queues):
    environment.setenv("DIGITS_LABELS_QUEUE_URL", queues.urls["LabelsQueue"])
    return fresh("backfill")


@pytest.fixture
def put(s3):
    def put(key, picture="seven.png"):
        s3.put_object(Bucket=IMAGES, Key=key, Body=(GOLDEN / picture).read_bytes())

    return put


def listing(s3, **options):
    """Build the event of the state machine for all images of the bucket.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html: ``Etag`` is
    spelt so, and the time is in seconds.
    """
    items = [
        {
            "Etag": item["ETag"],
            "Key": item["Key"],
            "LastModified": int(item["LastModified"].timestamp()),
            "Size": item["Size"],
            "StorageClass": item["StorageClass"],
        }
        for item in s3.list_objects_v2(Bucket=IMAGES).get("Contents", [])
    ]
    return {"Items": [{"Item": item, "Encoded": False, "Since": None} | options for item in items]}


@pytest.fixture
def requests(environment):
    """Count the function's requests to S3 by operation."""
    environment.setenv("DIGITS_MODEL_REFRESH_SECONDS", "3600")
    boto3.setup_default_session()  # the function creates its clients from it
    counted = Counter()
    boto3.DEFAULT_SESSION.events.register(
        "before-send.s3", lambda event_name, **_: counted.update([event_name.split(".")[-1]])
    )
    yield counted
    boto3.setup_default_session()


def test_a_backfill_labels_every_image_and_a_second_run_skips_them(
    s3, backfill, context, put, label
):
    for key in ("a.png", "b/c d.png", "ä+%.png"):
        put(key)

    assert backfill.handler(listing(s3), context) == {"labelled": 3}
    assert {label(key)["text"] for key in ("a.png", "b/c d.png", "ä+%.png")} == {"7"}
    first = label("a.png")

    put("new.png", "three.png")
    assert backfill.handler(listing(s3), context) == {"labelled": 1, "skipped": 3}
    assert label("a.png") == first, "a correct label is not written again"


def test_every_image_of_a_large_batch_is_counted_and_logged(s3, capsys, backfill, context, put):
    keys = {f"{number:03}.png" for number in range(120)}  # Powertools flushes metrics at a hundred
    for key in keys:
        put(key)
    backfill.logger.registered_handler.stream = log = io.StringIO()
    assert backfill.handler(listing(s3), context) == {"labelled": 120}
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {it["key"] for it in lines if it["message"] == "Read an image"} == keys
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    counted = [it["Images"] for it in lines if "Images" in it]
    assert sum(sum(it) if isinstance(it, list) else it for it in counted) == 120


def test_labelling_an_image_takes_four_s3_requests_and_skipping_it_one(
    s3, requests, backfill, context, put
):
    for number in range(10):
        put(f"{number}.png")
    backfill.handler({"Items": []}, context)
    backfill.models.classifier()  # the requests for the model are not counted

    requests.clear()
    assert backfill.handler(listing(s3), context) == {"labelled": 10}
    requests.subtract(ListObjectsV2=1)
    assert +requests == {"GetObject": 20, "HeadObject": 10, "PutObject": 10}

    requests.clear()
    assert backfill.handler(listing(s3), context) == {"skipped": 10}
    requests.subtract(ListObjectsV2=1)
    assert +requests == {"GetObject": 10}


def test_an_event_with_a_single_item_is_labelled(s3, backfill, context, put, label):
    put("a.png")
    (item,) = listing(s3)["Items"]
    assert backfill.handler(item, context) == {"labelled": 1}
    assert label("a.png")["text"] == "7"


def test_a_new_version_another_model_and_relabelling_are_not_skipped(
    s3, backfill, context, put, label
):
    for key in ("changed.png", "other.png", "same.png"):
        put(key)
    backfill.handler(listing(s3), context)
    put("changed.png", "three.png")
    other = label("other.png")
    other["model"]["version"] = "another"
    s3.put_object(Bucket=LABELS, Key=label_key("other.png"), Body=json.dumps(other).encode())

    assert backfill.handler(listing(s3), context) == {"labelled": 2, "skipped": 1}
    assert label("changed.png")["text"] == "3"

    now = max(label(key)["labelled_at"] for key in ("changed.png", "other.png"))
    assert backfill.handler(listing(s3, Since="2020-01-01T00:00:00Z"), context) == {"skipped": 3}
    again = backfill.handler(listing(s3, Since=now), context)
    assert again == {"labelled": 2, "skipped": 1}, "it resumes where the run before was interrupted"


def test_an_inventory_row_with_an_encoded_key_and_no_etag_or_size_is_labelled(
    s3, backfill, context, put, label
):
    put("a b/é.png")
    rows = {"Items": [{"Item": {"Bucket": IMAGES, "Key": "a+b/%C3%A9.png"}, "Encoded": True}]}

    assert backfill.handler(rows, context) == {"labelled": 1}
    assert label("a b/é.png")["text"] == "7"
    assert backfill.handler(rows, context) == {"skipped": 1}


def test_a_failing_image_is_queued_and_the_others_are_labelled(
    s3, backfill, queues, context, put, label, monkeypatch
):
    for number in range(12):
        put(f"{number}.png")
    real = backfill.Labeller.reconcile

    def reconcile(self, bucket, key, classifier):
        if key == "5.png":
            raise MemoryError
        real(self, bucket, key, classifier)

    monkeypatch.setattr(backfill.Labeller, "reconcile", reconcile)
    assert backfill.handler(listing(s3), context) == {"labelled": 11, "handed_over": 1}
    monkeypatch.undo()

    queues.deliver(context)
    assert label("5.png")["text"] == "7"


def test_an_image_without_time_left_is_queued(s3, backfill, queues, context, put, label):
    put("a.png")
    context.get_remaining_time_in_millis = lambda: 9_000
    assert backfill.handler(listing(s3), context) == {"handed_over": 1}
    context.get_remaining_time_in_millis = lambda: 30_000
    queues.deliver(context)
    assert label("a.png")["text"] == "7"


def test_every_image_of_a_batch_that_ended_the_function_is_queued(
    s3, backfill, queues, context, put
):
    for number in range(25):
        put(f"{number:02}.png")
    event = {"HandOver": listing(s3) | {"Failure": {"Error": "Lambda.Unknown"}}}
    assert backfill.handler(event, context) == {"handed_over": 25}
    sent = [body for batch in queues.deliver(context) for body in batch]
    keys = {json.loads(it)["Records"][0]["s3"]["object"]["key"] for it in sent}
    assert keys == {f"{number:02}.png" for number in range(25)}


def test_an_error_of_the_queue_fails_the_batch(s3, backfill, context, put, queues, environment):
    put("a.png")
    context.get_remaining_time_in_millis = lambda: 9_000
    environment.setenv("DIGITS_LABELS_QUEUE_URL", queues.urls["LabelsQueue"] + "-gone")
    with pytest.raises(Exception, match="does not exist"):
        fresh("backfill").handler(listing(s3), context)


def test_a_folder_placeholder_is_neither_labelled_nor_counted(
    s3, backfill, context, put, label, capsys
):
    for key in ("scans/", "old scans/"):
        s3.put_object(Bucket=IMAGES, Key=key, Body=b"")
    s3.put_object(Bucket=LABELS, Key=label_key("old scans/"), Body=b"{}")
    put("scans/a.png")

    assert backfill.handler(listing(s3), context) == {"labelled": 1}

    (counted,) = [line for line in capsys.readouterr().out.splitlines() if '"Backlog"' in line]
    assert json.loads(counted)["Backlog"] == [1]
    assert label("old scans/")["deleted"] is True, "an earlier version wrote an error there"
    assert label_key("scans/") not in [
        it["Key"] for it in s3.list_objects_v2(Bucket=LABELS)["Contents"]
    ]
    rows = {"Items": [{"Item": {"Bucket": IMAGES, "Key": "scans/"}, "Encoded": True}]}
    assert backfill.handler(rows, context) == {}, "an inventory may lack the size"


def test_an_archived_image_is_not_skipped_and_is_labelled_once_restored(
    s3, backfill, context, put, label
):
    body = (GOLDEN / "seven.png").read_bytes()
    s3.put_object(Bucket=IMAGES, Key="a.png", Body=body, StorageClass="GLACIER")
    assert backfill.handler(listing(s3), context) == {"labelled": 1}
    assert label("a.png")["error"]["code"] == "archived"

    s3.restore_object(Bucket=IMAGES, Key="a.png", RestoreRequest={"Days": 1})
    assert backfill.handler(listing(s3), context) == {"labelled": 1}
    assert label("a.png")["text"] == "7"
    assert backfill.handler(listing(s3), context) == {"skipped": 1}


def test_an_unreadable_image_gets_an_error_label_and_is_then_skipped(s3, backfill, context, label):
    s3.put_object(Bucket=IMAGES, Key="a.png", Body=b"not an image")
    assert backfill.handler(listing(s3), context) == {"labelled": 1}
    assert label("a.png")["error"]["code"] == "unsupported_format"
    assert backfill.handler(listing(s3), context) == {"skipped": 1}
