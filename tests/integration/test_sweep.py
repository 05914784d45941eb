"""The sweep's handler on pages of three versions: resumption, and what it skips."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import unquote_plus

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto.s3.models import s3_backends

from digits.labels.label import label_key
from tests.conftest import GOLDEN
from tests.integration.conftest import IMAGES, LABELS, fresh
from tests.integration.queues import ACCOUNT
from tests.integration.test_s3_labels import s3_event

# A run that fails emits no metric.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

KEYS = [f"{number} é+.png" for number in range(8)]
PAGE = 3


@pytest.fixture
def pages(sweep):
    """Limit listings to three versions; return the list of markers that the sweep used."""
    asked = []

    def shorten(params, **_):
        asked.append(params.get("KeyMarker"))
        return params | {"MaxKeys": PAGE}

    name = "provide-client-params.s3.ListObjectVersions"
    sweep.sweep()._s3.meta.events.register(name, shorten)
    return asked


@pytest.fixture
def images(s3):
    for key in KEYS:
        put(s3, key)


@pytest.fixture
def no_time(context):
    """Return the context of a run with time for only one page."""
    return SimpleNamespace(**vars(context) | {"get_remaining_time_in_millis": lambda: 59_999})


@pytest.fixture
def time(context):
    return SimpleNamespace(**vars(context) | {"get_remaining_time_in_millis": lambda: 60_000})


@pytest.fixture
def sent(queues):
    """Return a function that receives the keys sent to the labels queue since its last call."""

    def read():
        found = []
        sqs = boto3.client("sqs")
        url = queues.urls["LabelsQueue"]
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                (record,) = json.loads(message["Body"])["Records"]
                found.append(unquote_plus(record["s3"]["object"]["key"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    return read


def put(s3, key):
    s3.put_object(Bucket=IMAGES, Key=key, Body=(GOLDEN / "seven.png").read_bytes())


def test_one_run_lists_all_pages_and_sends_each_image_once(
    sweep, pages, images, sent, time, capsys
):
    done = sweep.handler({}, time)

    assert done == {"looked_at": 8, "sent": 8, "finished": True}
    assert pages == [None, KEYS[2], KEYS[5]]
    assert sorted(sent()) == KEYS
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Swept" in line]
    counted = json.loads(line)
    assert (counted["Swept"], counted["SentToBeLabelled"]) == ([8], [8])


def test_a_run_resumes_where_the_last_ran_out_of_time_and_restarts_after_the_end(
    sweep, pages, images, sent, no_time, time
):
    assert sweep.handler({}, no_time) == {"looked_at": 3, "sent": 3, "finished": False}
    assert sorted(sent()) == KEYS[:3]

    assert sweep.handler({}, time) == {"looked_at": 5, "sent": 5, "finished": True}
    assert sorted(sent()) == KEYS[3:]

    assert sweep.handler({}, no_time)["looked_at"] == 3
    assert sorted(sent()) == KEYS[:3]
    assert pages == [None, KEYS[2], KEYS[5], None]


def test_a_page_that_the_queue_refuses_is_sent_again_by_the_next_run(
    sweep, pages, images, sent, time, no_time
):
    sweep.handler({}, no_time)
    sent()

    def refuse(**_):  # before the request, or moto would accept the messages
        failed = {"Id": "1", "Code": "InternalError", "SenderFault": False, "Message": "busy"}
        return AWSResponse("", 200, {}, None), {"Successful": [], "Failed": [failed]}

    events = sweep.sweep()._sqs.meta.events
    events.register_first("before-call.sqs.SendMessageBatch", refuse)
    with pytest.raises(Exception, match="The queue refused 1 messages: busy"):
        sweep.handler({}, time)
    events.unregister("before-call.sqs.SendMessageBatch", refuse)
    assert sent() == []

    assert sweep.handler({}, time) == {"looked_at": 5, "sent": 5, "finished": True}
    assert sorted(sent()) == KEYS[3:]


def test_older_versions_are_not_counted_and_do_not_hide_other_images(
    sweep, pages, s3, queues, sent, context, time
):
    # At most a page: after a marker moto continues with older versions, S3 with the next key.
    for _ in range(PAGE):
        put(s3, "a.png")
    for key in ("gone.png", "gone too.png"):
        put(s3, key)
    queues.send(s3_event("a.png"), s3_event("gone.png"), s3_event("gone too.png"))
    queues.deliver(context)
    for key in ("gone.png", "gone too.png"):
        s3.delete_object(Bucket=IMAGES, Key=key)
    queues.send(s3_event("gone.png"))
    queues.deliver(context)
    put(s3, "b.png")

    assert sweep.handler({}, time) == {"looked_at": 4, "sent": 2, "finished": True}
    assert sorted(sent()) == ["b.png", "gone too.png"]


def test_a_folder_placeholder_is_skipped_unless_it_has_an_old_label(
    sweep, s3, queues, sent, context, time
):
    for key in ("scans/", "old scans/"):
        s3.put_object(Bucket=IMAGES, Key=key, Body=b"")
    s3.put_object(
        Bucket=LABELS, Key=label_key("old scans/"), Body=b'{"error": {"code": "unreadable_image"}}'
    )
    put(s3, "scans/a.png")

    assert sweep.handler({}, time) == {"looked_at": 1, "sent": 2, "finished": True}
    queues.deliver(context)
    assert sweep.handler({}, time) == {"looked_at": 1, "sent": 0, "finished": True}


def test_recent_changes_are_left_to_their_own_events(environment, sweep, s3, sent, time):
    environment.setenv("DIGITS_SWEEP_GRACE_SECONDS", "900")
    module = fresh("sweep")
    for key in ("old.png", "new.png", "deleted long ago.png", "deleted now.png"):
        put(s3, key)
    for key in ("deleted long ago.png", "deleted now.png"):
        s3.put_object(Bucket=LABELS, Key=label_key(key), Body=b"{}")
        s3.delete_object(Bucket=IMAGES, Key=key)
    let_time_pass("old.png", 901)
    let_time_pass("new.png", 880)
    let_time_pass("deleted long ago.png", 901)

    assert module.handler({}, time) == {"looked_at": 2, "sent": 2, "finished": True}
    assert sorted(sent()) == ["deleted long ago.png", "old.png"]


def let_time_pass(key, seconds):
    """Shift the times of an object's versions into the past."""
    for version in s3_backends[ACCOUNT]["aws"].buckets[IMAGES].keys.getlist(key):
        version.last_modified -= timedelta(seconds=seconds)


def test_a_sweep_without_its_queue_setting_raises_an_error_that_names_it(environment, sweep, time):
    environment.delenv("DIGITS_LABELS_QUEUE_URL")
    with pytest.raises(RuntimeError, match=r"DIGITS_LABELS_QUEUE_URL must be set"):
        fresh("sweep").handler({}, time)


def test_an_unreadable_position_ends_the_run_before_anything_is_sent(sweep, images, s3, sent, time):
    s3.delete_bucket(Bucket=LABELS)
    with pytest.raises(Exception, match="NoSuchBucket"):
        sweep.handler({}, time)
    assert sent() == []
