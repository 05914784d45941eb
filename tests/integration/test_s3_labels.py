"""The labels function, called with events of SQS and S3, against moto."""

import json
import sys
import threading
import time
from urllib.parse import quote_plus
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.s3.models import s3_backends

from digits.labels.label import label_key
from tests.conftest import GOLDEN
from tests.integration.conftest import IMAGES, LABELS, MODELS, fresh, publish_shipped
from tests.integration.queues import ACCOUNT


def s3_event(*keys, name="ObjectCreated:Put"):
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-east-1",
                "eventTime": "2026-11-24T12:00:00.000Z",
                "eventName": name,
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "bucket": {"name": IMAGES, "arn": f"arn:aws:s3:::{IMAGES}"},
                    "object": {"key": quote_plus(key), "sequencer": "0055AED6DCD90281E5"},
                },
            }
            for key in keys
        ]
    }


def batch(*bodies):
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "md5OfBody": "",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:labels",
                "awsRegion": "us-east-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


def failures(answer):
    """Return the failed messages, sorted, because the function returns them in order of failure."""
    return sorted(item["itemIdentifier"] for item in answer["batchItemFailures"])


@pytest.fixture
def put(s3):
    def put_object(key, data, **metadata):
        s3.put_object(Bucket=IMAGES, Key=key, Body=data, Metadata=metadata)

    return put_object


@pytest.fixture
def labelled(s3_labels, context, label):
    """Return a function that handles one message with these keys, and returns the first label."""

    def handle(*keys, name="ObjectCreated:Put"):
        answer = s3_labels.handler(batch(s3_event(*keys, name=name)), context)
        assert failures(answer) == []
        return label(keys[0])

    return handle


def test_an_uploaded_image_gets_a_label(s3, put, labelled, seven):
    put("scans/seven.png", seven)
    found = labelled("scans/seven.png")
    head = s3.head_object(Bucket=IMAGES, Key="scans/seven.png")
    assert (found["text"], found["mode"]) == ("7", "single")
    assert found["source"] == {
        "bucket": IMAGES,
        "key": "scans/seven.png",
        "version_id": head["VersionId"],
        "etag": head["ETag"].strip('"'),
        "size": len(seven),
    }
    assert found["labelled_at"].endswith("Z")
    assert set(found["model"]) == {"version", "sha256", "preprocessing"}


@pytest.mark.parametrize(
    "key",
    ["a b+c%.png", "écolière/ü.jpg", "数字", "#?&=;", "x" * 1024, "é" * 512, ".long/x", "a//b"],
)
def test_an_image_with_any_legal_key_is_labelled(put, labelled, seven, key):
    put(key, seven)
    found = labelled(key)
    assert (found["text"], found["source"]["key"]) == ("7", key)


def test_every_event_of_a_message_is_labelled(put, labelled, label, seven, one):
    put("a", seven)
    put("b", one)
    assert (labelled("a", "b")["text"], label("b")["text"]) == ("7", "1")


def test_the_label_is_of_the_current_object_whatever_the_event(put, labelled, seven, one):
    put("a", seven)
    put("a", one)
    assert labelled("a")["text"] == "1"
    assert labelled("a")["text"] == "1"


def test_a_repeated_event_writes_the_same_label(put, labelled, seven):
    put("a", seven)
    first, again = labelled("a"), labelled("a")
    assert again == first | {"labelled_at": again["labelled_at"]}


def test_a_deleted_image_gets_a_tombstone_and_a_new_upload_a_label(s3, put, labelled, seven):
    put("a", seven)
    labelled("a")
    s3.delete_object(Bucket=IMAGES, Key="a")
    tombstone = labelled("a", name="ObjectRemoved:DeleteMarkerCreated")
    assert (tombstone["deleted"], tombstone["source"]["key"], "text" in tombstone) == (
        True,
        "a",
        False,
    )
    put("a", seven)
    assert labelled("a")["text"] == "7"


def test_a_late_creation_event_of_a_deleted_image_keeps_the_tombstone(s3, put, labelled, seven):
    put("a", seven)
    s3.delete_object(Bucket=IMAGES, Key="a")
    labelled("a", name="ObjectRemoved:DeleteMarkerCreated")
    assert labelled("a")["deleted"] is True


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"just a text", "unsupported_format"),
        (b"", "unreadable_image"),
        (b"\x89PNG\r\n\x1a\n cut off", "unreadable_image"),
        (b"\xff" * (20 * 1024 * 1024 + 1), "too_large"),
    ],
)
def test_an_unreadable_image_gets_an_error_label_and_no_retry(put, labelled, data, code):
    put("a", data)
    found = labelled("a")
    assert (found["error"]["code"], found["text"], found["needs_review"]) == (code, None, True)
    assert "digits" not in found


@pytest.fixture
def archived(s3):
    """Return a function that archives an image as a lifecycle rule does, without a new version."""

    def move(key, storage_class):
        s3_backends[ACCOUNT]["aws"].get_object(IMAGES, key).set_storage_class(storage_class)

    return move


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_image_gets_an_error_label_and_a_label_once_restored(
    s3, put, archived, labelled, seven, storage_class
):
    put("a", seven)
    archived("a", storage_class)
    found = labelled("a")
    assert (found["error"]["code"], found["needs_review"]) == ("archived", True)
    assert storage_class in found["error"]["message"]
    head = s3.head_object(Bucket=IMAGES, Key="a")
    assert (found["source"]["version_id"], found["source"]["size"]) == (
        *(head["VersionId"], len(seven)),
    )
    s3.restore_object(Bucket=IMAGES, Key="a", RestoreRequest={"Days": 1})
    assert labelled("a", name="ObjectRestore:Completed")["text"] == "7"


def test_an_image_archived_after_labelling_keeps_its_label(s3, put, archived, labelled, seven, one):
    put("a", seven)
    before = labelled("a") | {"a_later_field": [1.5, "x"]}
    s3.put_object(Bucket=LABELS, Key=label_key("a"), Body=json.dumps(before).encode())
    archived("a", "GLACIER")
    kept = labelled("a")
    assert kept["labelled_at"] > before["labelled_at"]
    assert kept == before | {"labelled_at": kept["labelled_at"]}
    put("a", one)
    archived("a", "GLACIER")
    assert labelled("a")["error"]["code"] == "archived", "the label was of another picture"


@pytest.mark.parametrize("name", ["ObjectCreated:Put", "ObjectRemoved:Delete"])
def test_a_folder_placeholder_gets_no_label(s3, s3_labels, put, context, capsys, name):
    put("scans/", b"")
    assert failures(s3_labels.handler(batch(s3_event("scans/", name=name)), context)) == []
    assert s3.list_objects_v2(Bucket=LABELS)["KeyCount"] == 0
    assert '"Images"' not in capsys.readouterr().out


def test_an_error_label_of_a_folder_placeholder_becomes_a_tombstone(s3, put, labelled):
    s3.put_object(Bucket=LABELS, Key=label_key("scans/"), Body=b'{"error": {"code": "x"}}')
    put("scans/", b"")
    assert labelled("scans/")["deleted"] is True


def test_an_image_whose_key_ends_with_a_slash_is_labelled(put, labelled, seven):
    put("scans/", seven)
    assert labelled("scans/")["text"] == "7"
    put("empty", b"")
    assert labelled("empty")["error"]["code"] == "unreadable_image"


def test_an_image_expired_by_a_lifecycle_rule_gets_a_tombstone(
    s3, put, s3_labels, context, label, seven
):
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configure-notification.html"""
    put("a b", seven)
    s3_labels.handler(batch(s3_event("a b")), context)
    s3.delete_object(Bucket=IMAGES, Key="a b")
    event = s3_event("a b", name="LifecycleExpiration:DeleteMarkerCreated")
    event["Records"][0] |= {
        "eventVersion": "2.3",
        "userIdentity": {"principalId": "s3.amazonaws.com"},
        "requestParameters": {"sourceIPAddress": "s3.amazonaws.com"},
    }
    assert failures(s3_labels.handler(batch(event), context)) == []
    assert label("a b")["deleted"] is True


def test_object_metadata_overrides_the_label_mode(put, labelled, seven):
    put("a", seven, **{"digits-mode": "multiple"})
    assert labelled("a")["mode"] == "multiple"


def test_an_invalid_mode_in_the_metadata_gets_an_error_label(put, labelled, seven):
    put("a", seven, **{"digits-mode": "all of them"})
    found = labelled("a")
    assert (found["error"]["code"], found["mode"]) == ("bad_request", None)


def test_the_label_mode_setting_sets_the_mode(environment, put, context, label, seven):
    environment.setenv("DIGITS_LABEL_MODE", "multiple")
    put("a", seven)
    fresh("s3_labels").handler(batch(s3_event("a")), context)
    assert label("a")["mode"] == "multiple"


def test_the_test_event_of_s3_is_accepted(s3_labels, context):
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": IMAGES}
    assert failures(s3_labels.handler(batch(test), context)) == []


def test_only_messages_that_are_not_s3_events_return_to_the_queue(
    s3_labels, put, context, label, seven
):
    put("a", seven)
    answer = s3_labels.handler(
        batch("not json", s3_event("a"), "[]", {"hello": "world"}, "null"), context
    )
    assert failures(answer) == ["message-0", "message-2", "message-3", "message-4"]
    assert label("a")["text"] == "7"


def test_a_batch_of_only_failures_is_reported_not_raised(s3_labels, context):
    assert failures(s3_labels.handler(batch("not json"), context)) == ["message-0"]


def test_a_label_written_concurrently_is_computed_again(
    s3_labels, s3, put, context, label, seven, one, monkeypatch
):
    """The image changes and another function labels it between this one's read and write."""
    put("a", seven)
    client = s3_labels.labeller()._s3
    real = client.put_object
    raced = []

    def put_after_another(**kwargs):
        if not raced:
            raced.append(kwargs)
            put("a", one)
            s3.put_object(Bucket=LABELS, Key=kwargs["Key"], Body=b'{"text": "the other\'s"}')
        return real(**kwargs)

    monkeypatch.setattr(client, "put_object", put_after_another)
    assert failures(s3_labels.handler(batch(s3_event("a")), context)) == []
    assert raced
    assert label("a")["text"] == "1"


def test_without_a_reachable_model_messages_return_to_the_queue(
    environment, put, context, s3, seven
):
    environment.setenv("DIGITS_MODELS", "s3://no-such-bucket")
    put("a", seven)
    answer = fresh("s3_labels").handler(batch(s3_event("a")), context)
    assert failures(answer) == ["message-0"]
    assert s3.list_objects_v2(Bucket=LABELS)["KeyCount"] == 0


def test_the_label_names_the_promoted_model(put, labelled, seven):
    pointer = publish_shipped()
    put("a", seven)
    assert labelled("a")["model"]["version"] == pointer.version


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["put 7", "put 1", "delete"]), st.sampled_from("ab")),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS, shuffle=st.randoms(use_true_random=False))
def test_after_any_stream_of_events_each_label_is_of_the_current_object(
    s3, s3_labels, put, context, label, actions, shuffle
):
    folder = uuid4()  # hypothesis examples share the buckets
    events = []
    images = {"put 7": "seven.png", "put 1": "one.jpg"}
    for action, name in actions:
        key = f"{folder}/{name}"
        if action == "delete":
            s3.delete_object(Bucket=IMAGES, Key=key)
        else:
            put(key, (GOLDEN / images[action]).read_bytes())
        events += [s3_event(key)] * shuffle.choice([1, 1, 2])
        if shuffle.random() < 0.3:
            s3_labels.handler(batch(shuffle.choice(events)), context)
    shuffle.shuffle(events)
    assert failures(s3_labels.handler(batch(*events), context)) == []
    for name in {name for _, name in actions}:
        last = [action for action, other in actions if other == name][-1]
        found = label(f"{folder}/{name}")
        assert found.get("text") == {"put 7": "7", "put 1": "1", "delete": None}[last]
        assert found.get("deleted", False) == (last == "delete")


def test_labelling_writes_neither_images_nor_models(s3, put, labelled, seven):
    put("a", seven)
    labelled("a")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=IMAGES)["Contents"]] == ["a"]
    assert s3.list_objects_v2(Bucket=MODELS)["KeyCount"] == 0


def test_images_of_a_batch_are_fetched_together_and_classified_one_at_a_time(
    s3_labels, context, put, label, seven, monkeypatch
):
    together = threading.Barrier(3, timeout=30)
    client = s3_labels.labeller()._s3

    def wait(**_):
        together.wait()  # returns None, or the value would replace S3's answer

    client.meta.events.register("before-call.s3.GetObject", wait)
    module = sys.modules["lambda_predict.labelling"]
    read, alone = module.classify, threading.Lock()

    def watched(*given, **options):
        assert alone.acquire(blocking=False), "another image was being read"
        try:
            time.sleep(0.05)
            return read(*given, **options)
        finally:
            alone.release()

    monkeypatch.setattr(module, "classify", watched)
    keys = ("a", "b", "c")
    for key in keys:
        put(key, seven)
    assert failures(s3_labels.handler(batch(*(s3_event(key) for key in keys)), context)) == []
    assert [label(key)["text"] for key in keys] == ["7", "7", "7"]
