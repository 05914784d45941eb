"""`digits labels retry` against the stack's queues, in moto."""

from __future__ import annotations

import io
import json
import re
import time

import boto3
import pytest

from digits.cli import main
from digits.cli.labels import dead_letters, redrive
from digits.cli.labels.dead_letters import UNKNOWN
from digits.labels.label import label_key
from tests.conftest import GOLDEN
from tests.integration.conftest import IMAGES, LABELS, describe_stack
from tests.integration.test_faults import SICK, fault, refused
from tests.integration.test_s3_labels import s3_event

LOG = "/digits/labels"


@pytest.fixture
def stack(queues):
    """Create a stack with the outputs that the command reads."""
    describe_stack(
        DeadLetterQueueUrl=queues.urls["DeadLetterQueue"],
        RetryQueueUrl=queues.urls["RetryQueue"],
        S3LabelsLogGroup=LOG,
    )
    boto3.client("logs").create_log_group(logGroupName=LOG)


@pytest.fixture
def run(stack, capsys, monkeypatch):
    """Return a function that runs the command with an answer, and returns output and exit code."""

    def run(*options, answer=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        with pytest.raises(SystemExit) as ended:
            main(["labels", "retry", *options])
        output = capsys.readouterr()
        return output.out + output.err, ended.value.code or 0

    return run


def put(s3, key):
    return s3.put_object(Bucket=IMAGES, Key=key, Body=(GOLDEN / "seven.png").read_bytes())


def die(queues, *bodies):
    for body in bodies:
        boto3.client("sqs").send_message(
            QueueUrl=queues.urls["DeadLetterQueue"],
            MessageBody=body if isinstance(body, str) else json.dumps(body),
        )


def test_a_redriven_dead_letter_is_labelled(s3, queues, run, label, context):
    put(s3, "a b/é.png")
    die(queues, s3_event("a b/é.png"))

    output, code = run("--yes")

    assert code == 0
    assert "1 sent back; 0 left" in output
    assert queues.dead() == []
    queues.deliver(context)
    assert label("a b/é.png")["text"] == "7"


def log(*lines):
    """Put lines of a function's output into its log group."""
    logs = boto3.client("logs")
    logs.create_log_stream(logGroupName=LOG, logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines if line.strip()]
    logs.put_log_events(logGroupName=LOG, logStreamName="s", logEvents=events)


def test_each_dead_letter_is_listed_with_its_cause(s3, s3_labels, queues, run, context):
    for key in ("waits.png", "labelled.png"):
        put(s3, key)
    version = s3.head_object(Bucket=IMAGES, Key="labelled.png")
    source = {"bucket": IMAGES, "key": "labelled.png", "version_id": version["VersionId"],
              "etag": version["ETag"].strip('"'), "size": version["ContentLength"]}  # fmt: skip
    s3.put_object(
        Bucket=LABELS, Key=label_key("labelled.png"), Body=json.dumps({"source": source}).encode()
    )
    two = s3_event("labelled.png", "waits.png")
    die(queues, *map(s3_event, ("waits.png", "labelled.png", "gone.png")), two)
    die(queues, "hello", json.dumps({"Records": [1]}))
    put(s3, SICK)
    queues.send(s3_event(SICK))
    s3_labels.logger.registered_handler.stream = log_stream = io.StringIO()
    with fault(s3_labels, "GetObject", refused(403, "AccessDenied")):
        queues.deliver(context)
    log(*log_stream.getvalue().splitlines(), "{}", '{"key": "waits.png", "exception": ""}', "[")

    output, code = run("--dry-run")

    assert code == 0
    output = " ".join(output.replace("│", " ").split())
    for key, why in {
        "waits.png": UNKNOWN,
        SICK: "botocore.errorfactory.AccessDenied: An error occurred (AccessDenied)",
        "labelled.png": dead_letters.LABELLED,
        "gone.png": dead_letters.GONE,
        "hello": dead_letters.NO_EVENT,
    }.items():
        assert re.search(rf"{key} 20\S+ \S+ {re.escape(why)}", output)
    assert re.search(rf"labelled.png, \S+waits.png 20\S+ \S+ {UNKNOWN}", output)
    assert len(queues.dead()) == 7, "a dry run keeps every message visible"


def test_a_dead_letter_that_is_not_an_event_is_kept_or_discarded_but_not_redriven(
    s3, queues, run, context
):
    put(s3, "a.png")
    die(queues, "hello", s3_event("a.png"))

    assert "1 sent back; 1 left" in run("--yes")[0]
    assert [len(batch) for batch in queues.deliver(context)] == [1]
    assert "1 deleted; 0 left" in run("--yes", "--discard")[0]
    assert queues.dead() == []
    assert "no dead letters" in run("--yes")[0]


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_confirmation_no_dead_letter_is_redriven(s3, queues, run, answer):
    put(s3, "a.png")
    die(queues, s3_event("a.png"))

    output, code = run(answer=answer)

    assert code == (0 if answer else 2)
    assert "Send back 1 of 1?" in output
    assert len(queues.dead()) == 1


def test_two_commands_at_once_do_not_redrive_the_same_messages(s3, queues, run, stack):
    for number in range(23):
        die(queues, s3_event(f"{number}.png"))
    first = dead_letters.of_stack("digits")

    taken = first.take()

    assert len(taken) == 23
    assert "Another command holds 23 dead letters" in run("--yes")[0]
    assert sum(first.send_back(taken)) == 23
    assert queues.dead() == []
    retried = boto3.client("sqs").get_queue_attributes(
        QueueUrl=queues.urls["RetryQueue"], AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert retried["Attributes"]["ApproximateNumberOfMessages"] == "23"


def test_more_dead_letters_than_one_run_takes_are_reported(s3, queues, run, monkeypatch):
    for module in (dead_letters, redrive):
        monkeypatch.setattr(module, "MOST", 10)
    die(queues, *(s3_event(f"{number}.png") for number in range(13)))

    output, _ = run("--yes")

    assert "10 sent back; 0 left.\nThere may be more" in output
    output, _ = run("--yes")
    assert "3 sent back; 0 left." in output
    assert "more" not in output


def test_an_error_while_listing_leaves_the_dead_letters_visible(s3, queues, run, stack):
    put(s3, "a.png")
    die(queues, s3_event("a.png"))
    s3.delete_bucket(Bucket=LABELS)

    output, code = run("--yes")

    assert code == 2
    assert "AWS refused GetObject (NoSuchBucket" in output
    assert len(queues.dead()) == 1


def test_a_message_that_the_queue_refuses_stays_a_dead_letter(s3, queues, stack, monkeypatch):
    die(queues, *(s3_event(f"{number}.png") for number in range(3)))
    dead = dead_letters.of_stack("digits")
    taken = dead.take()
    send = dead._sqs.send_message_batch

    def refuse_one(**asked):
        one, other, third = asked.pop("Entries")
        failed = {"Id": other["Id"], "Message": "busy", "Code": "x", "SenderFault": False}
        return send(Entries=[one, third], **asked) | {"Failed": [failed]}

    monkeypatch.setattr(dead._sqs, "send_message_batch", refuse_one)
    sent = dead.send_back(taken)

    assert next(sent) == 2
    with pytest.raises(dead_letters.StorageUnavailable, match="refused 1 message"):
        next(sent)
    dead.put_back(taken)
    assert queues.dead() == [taken[1].body]


def test_confirming_after_the_visibility_timeout_asks_to_run_again(s3, queues, stack, monkeypatch):
    die(queues, s3_event("a.png"))
    dead = dead_letters.of_stack("digits")
    taken = dead.take()
    later = time.monotonic() + dead_letters.HIDDEN
    monkeypatch.setattr("time.monotonic", lambda: later)

    with pytest.raises(dead_letters.Conflict, match="run the command again"):
        list(dead.send_back(taken))


def test_a_missing_stack_is_an_error_of_one_line(run):
    output, code = run("--stack", "nobody")

    assert code == 2
    assert output.splitlines() == [
        "Error: There is no stack nobody (ValidationError): deploy it first, or name another with"
        " --stack."
    ]
