"""`digits labels …` against moto, on labels that the real function wrote."""

from __future__ import annotations

import csv
import io
import json
import sys

import boto3
import pyarrow.parquet
import pytest
from PIL import Image

from digits.cli import main
from digits.cli.labels import backfill, collected
from digits.labels.label import correction_key, label_key
from tests.conftest import GOLDEN
from tests.integration.conftest import IMAGES, LABELS, describe_stack
from tests.integration.test_s3_labels import s3_event

ROLE = "arn:aws:iam::123456789012:role/backfill"


@pytest.fixture
def machine(queues):
    """Create a state machine in moto, whose executions start and keep running."""
    answer = boto3.client("stepfunctions").create_state_machine(
        name="digits-backfill",
        roleArn=ROLE,
        definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}),
    )
    describe_stack(
        LabelsQueueUrl=queues.urls["LabelsQueue"],
        RetryQueueUrl=queues.urls["RetryQueue"],
        DeadLetterQueueUrl=queues.urls["DeadLetterQueue"],
        BackfillArn=answer["stateMachineArn"],
    )
    return answer["stateMachineArn"]


@pytest.fixture
def digits(machine, capsys):
    """Return a function that runs `digits labels …`, and returns its output and exit code."""

    def run(*arguments):
        capsys.readouterr()  # discard the function's output
        with pytest.raises(SystemExit) as ended:
            main(["labels", *map(str, arguments)])
        captured = capsys.readouterr()
        return captured.out, captured.err, ended.value.code or 0

    return run


def blank():
    buffer = io.BytesIO()
    Image.new("L", (60, 60), 240).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def labelled(s3, queues, context):
    """Return a function that uploads pictures and lets the labels function label them."""

    def put(**pictures):
        for key, body in pictures.items():
            data = body if isinstance(body, bytes) else (GOLDEN / body).read_bytes()
            s3.put_object(Bucket=IMAGES, Key=key, Body=data)
        queues.send(s3_event(*pictures))
        queues.deliver(context)

    return put


def test_status_counts_the_images_by_state(s3, queues, digits, labelled):
    labelled(**{"in/a": "seven.png", "in/b": "three.png", "in/bad": b"not an image",
                "in/blank": blank(), "in/changed": "seven.png"})  # fmt: skip
    s3.put_object(Bucket=IMAGES, Key="in/", Body=b"")  # a folder placeholder of S3's console
    for key in ("in/changed", "in/new", "beside/it"):
        s3.put_object(Bucket=IMAGES, Key=key, Body=b"another")
    queues.send(s3_event("in/new"))
    boto3.client("sqs").send_message(QueueUrl=queues.urls["DeadLetterQueue"], MessageBody="{}")
    digits("correct", f"s3://{IMAGES}/in/blank", "4")

    out, _, code = digits("status", f"s3://{IMAGES}/in/", "--format", "json")

    assert code == 0
    assert json.loads(out) == {
        "images": 6,
        "labelled": 2,
        "for review": 1,
        "refused": 1,
        "waiting": 2,
        "corrected": 1,
        "in the queue": 1,
        "dead letters": 1,
    }
    out, _, _ = digits("status", f"s3://{IMAGES}/in/")
    assert "33.3%" in out


def test_collect_writes_a_table_of_labels_and_corrections(s3, digits, labelled, tmp_path, label):
    labelled(**{"a.b": "seven.png", "a": "three.png", "bad": b"not an image", "gone": "seven.png"})
    s3.delete_object(Bucket=IMAGES, Key="gone")
    labelled(**{"zero/é x": "seven.png"})
    out, _, code = digits("correct", f"s3://{IMAGES}/a", "5")
    assert code == 0
    assert s3.get_object(Bucket=LABELS, Key=correction_key("a"))
    digits("correct", f"s3://{IMAGES}/zero/é x", "-12\\n3.5\\f=?")
    labelled(**{"a": "three.png"})  # a correction survives a new label

    out, _, code = digits("collect", f"s3://{LABELS}")

    assert code == 0
    rows = {row["image"]: row for row in csv.DictReader(io.StringIO(out))}
    assert list(rows) == sorted(rows, key=lambda key: label_key(key).encode())
    given = {key: (row["text"], row["truth"], row["error"]) for key, row in rows.items()}
    assert given == {
        "a": ("3", "5", ""),
        "a.b": ("7", "", ""),
        "bad": ("", "", "unsupported_format"),
        "gone": ("7", "", ""),
        "zero/é x": ("7", "'-12\n3.5\f=?", ""),  # the quote stops spreadsheets from evaluating it
    }
    assert rows["a"]["model"] == label("a")["model"]["version"]
    assert float(rows["a"]["confidence"]) == label("a")["digits"][0]["confidence"]

    out, _, code = digits("collect", f"s3://{LABELS}/labels/a", "--out", tmp_path / "t.parquet")
    assert (code, out) == (0, f"2 labels in {tmp_path / 't.parquet'}\n")
    (first, second) = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert (first["image"], second["image"]) == ("a.b", "a"), "in the order of the labels' keys"
    assert (second["text"], second["truth"], second["needs_review"]) == ("3", "5", False)


def truths(digits):
    """Return the corrections that `collect` lists, by image."""
    out, _, code = digits("collect", f"s3://{LABELS}")
    assert code == 0
    return {row["image"]: row["truth"] for row in csv.DictReader(io.StringIO(out))}


def test_a_correction_does_not_apply_to_a_later_version_of_the_image(s3, digits, labelled):
    labelled(a="seven.png", b="seven.png")
    for key in "ab":
        digits("correct", f"s3://{IMAGES}/{key}", "1")
    labelled(a="three.png", b="seven.png")
    assert truths(digits) == {"a": "", "b": "1"}


def test_a_misspelt_option_is_not_taken_for_a_correction(s3, digits, labelled):
    labelled(a="seven.png")
    _, err, code = digits("correct", f"s3://{IMAGES}/a", "7", "--stak", "other")
    assert code == 2
    assert "unexpected extra argument" in err
    assert truths(digits) == {"a": ""}


def test_corrections_are_found_for_keys_of_any_length(digits, labelled):
    # The longest image keys that fit are 1,012 bytes for a label, 1,007 for a correction.
    keys = [first + "x" * (size - 1) for first in "!a" for size in (1007, 1008, 1012, 1013)]
    labelled(**dict.fromkeys(["!y", *keys], "seven.png"))
    for key in ("!y", *keys):
        digits("correct", f"s3://{IMAGES}/{key}", "1")
    assert truths(digits) == dict.fromkeys(["!y", *keys], "1")


def test_labels_and_corrections_are_joined_across_pages(digits, labelled, monkeypatch):
    monkeypatch.setattr(collected, "_AT_ONCE", 2)
    keys = [f"{number}" for number in range(7)]
    labelled(**dict.fromkeys(keys, "seven.png"))
    for key in ("0", "2", "3", "6"):
        digits("correct", f"s3://{IMAGES}/{key}", key)
    assert truths(digits) == {key: key if key in "0236" else "" for key in keys}


def test_an_invalid_correction_object_is_ignored(s3, digits, labelled):
    labelled(a="seven.png")
    s3.put_object(Bucket=LABELS, Key=correction_key("a"), Body=b'{"truth": "x"}')
    assert truths(digits) == {"a": ""}


@pytest.mark.parametrize("command", ["collect", "diff"])
def test_parquet_without_pyarrow_says_what_to_install(digits, tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = tmp_path / "a.parquet"
    given = (f"s3://{LABELS}", "--out", table) if command == "collect" else (table, table)
    _, err, code = digits(command, *given)
    assert code == 2
    assert "pip install pyarrow" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_collect_skips_tombstones_and_foreign_objects(s3, queues, context, digits, labelled, label):
    labelled(a="seven.png", gone="seven.png")
    s3.delete_object(Bucket=IMAGES, Key="gone")
    queues.send(s3_event("gone", name="ObjectRemoved:DeleteMarkerCreated"))
    queues.deliver(context)
    assert label("gone")["deleted"] is True
    s3.put_object(Bucket=LABELS, Key="labels/x.json", Body=b"hello")
    s3.put_object(Bucket=LABELS, Key="labels/y.json", Body=b'{"source": null, "deleted": true}')
    out, _, _ = digits("collect", f"s3://{LABELS}")
    assert [line.split(",")[0] for line in out.splitlines()] == ["image", "a"]


def test_diff_compares_the_labels_of_two_models(s3, digits, labelled, tmp_path):
    labelled(**dict.fromkeys(("a", "b", "b.c", "d"), "seven.png"), e="three.png")
    digits("correct", f"s3://{IMAGES}/a", "7")
    digits("collect", f"s3://{LABELS}", "--out", tmp_path / "before.csv")
    for key, change in {
        "a": {"text": "1"},
        "b.c": {"text": "12"},
        "e": {"needs_review": True},
    }.items():
        body = json.loads(s3.get_object(Bucket=LABELS, Key=label_key(key))["Body"].read()) | change
        body["model"]["version"] = "newer"
        s3.put_object(Bucket=LABELS, Key=label_key(key), Body=json.dumps(body).encode())
    s3.delete_object(Bucket=LABELS, Key=label_key("d"))
    s3.copy_object(Bucket=LABELS, Key=label_key("f"), CopySource=f"{LABELS}/{label_key('e')}")
    labelled(g="seven.png")
    digits("collect", f"s3://{LABELS}", "--out", tmp_path / "after.parquet")

    out, _, code = digits(
        "diff", tmp_path / "before.csv", tmp_path / "after.parquet", "--format", "json"
    )

    assert code == 0
    given = json.loads(out)
    assert (given["images"], given["same"], given["only_before"]) == (4, 2, 1)
    assert (given["review_before"], given["review_after"]) == (0, 1)
    assert (given["known"], given["right_before"], given["right_after"]) == (1, 1, 0)
    assert {(it["before"], it["after"], it["images"]) for it in given["changes"]} == {
        ("7", "1", 1),
        ("7", "a number", 1),
    }
    assert "newer" in given["after"]
    assert given["alike"] == {"7": 1, "3": 1}
    out, _, _ = digits("diff", tmp_path / "before.csv", f"s3://{LABELS}", "--format", "json")
    assert json.loads(out) == given, "a bucket gives the same result as its collected table"
    out, _, _ = digits("diff", tmp_path / "before.csv", tmp_path / "after.parquet")
    lines = [line.replace("│", " ").split() for line in out.splitlines()]
    assert ["7", "1", "0", "1", "1"] in lines, "7 became 1, 3, 7 and a number that often"
    assert ["3", "0", "1", "0", "0"] in lines


def test_a_second_backfill_command_finds_the_running_one(digits, machine):
    sfn = boto3.client("stepfunctions")
    address = f"s3://{IMAGES}/scans/"

    _, err, code = digits("backfill", address, "--no-wait")

    assert code == 0
    (run,) = sfn.list_executions(stateMachineArn=machine)["executions"]
    assert run["executionArn"] in err
    given = sfn.describe_execution(executionArn=run["executionArn"])["input"]
    assert json.loads(given) == {"prefix": "scans/", "since": None}
    assert "Already running" in digits("backfill", address, "--no-wait")[1]
    _, err, code = digits("backfill", address, "--relabel", "--no-wait")
    assert code == 2
    assert "Another backfill is running" in err
    assert len(sfn.list_executions(stateMachineArn=machine)["executions"]) == 1


MANIFEST = f"s3://{LABELS}/inventory/{IMAGES}/all/2026-11-26T01-00Z/manifest.json"


def deliver_inventory(s3, **changes):
    given = {
        "sourceBucket": IMAGES,
        "destinationBucket": f"arn:aws:s3:::{LABELS}",
        "version": "2016-11-30",
        "creationTimestamp": "1795654800000",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, ETag",
        "files": [{"key": "inventory/data/1.csv.gz", "size": 1, "MD5checksum": "-"}],
    }
    key = MANIFEST.removeprefix(f"s3://{LABELS}/")
    s3.put_object(Bucket=LABELS, Key=key, Body=json.dumps(given | changes).encode())
    return {"bucket": LABELS, "key": key}


def input_of(machine):
    """Return the input of the newest execution."""
    sfn = boto3.client("stepfunctions")
    runs = sfn.list_executions(stateMachineArn=machine)["executions"]
    newest = max(runs, key=lambda run: run["startDate"])
    return json.loads(sfn.describe_execution(executionArn=newest["executionArn"])["input"])


def test_a_backfill_of_an_inventory_passes_its_manifest_and_start_time(s3, digits, machine):
    place = deliver_inventory(s3)
    _, err, code = digits(
        *("backfill", f"s3://{IMAGES}", "--inventory", MANIFEST, "--relabel", "--no-wait")
    )
    assert code == 0, err
    given = input_of(machine)
    assert given.pop("since") > "2026"
    assert given == {"prefix": "", "inventory": place}


@pytest.mark.parametrize(
    ("changes", "prefix", "says"),
    [
        ({"sourceBucket": "elsewhere"}, "", "lists elsewhere, not test-images"),
        ({"fileFormat": "Parquet"}, "", "as CSV"),
        ({"fileSchema": "Bucket, Key, VersionId, IsLatest, Size"}, "", "current versions only"),
        ({"fileFormat": None}, "", "is not an S3 Inventory manifest"),
        ({}, "scans/", "covers the whole bucket"),
    ],
)
def test_an_unsuitable_inventory_is_refused(s3, digits, machine, changes, prefix, says):
    deliver_inventory(s3, **changes)
    _, err, code = digits("backfill", f"s3://{IMAGES}/{prefix}", "--inventory", MANIFEST)
    assert code == 2
    assert says in err
    assert not boto3.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]


def test_stopped_relabelling_resumes_with_the_same_start_time(digits, machine):
    sfn = boto3.client("stepfunctions")

    def relabel(address):
        _, err, code = digits("backfill", address, "--relabel", "--no-wait")
        assert code == 0, err
        (running,) = sfn.list_executions(stateMachineArn=machine, statusFilter="RUNNING")[
            "executions"
        ]
        given = input_of(machine)
        sfn.stop_execution(executionArn=running["executionArn"])
        return given["since"]

    first = relabel(f"s3://{IMAGES}/a/")
    assert relabel(f"s3://{IMAGES}/a/") == first
    other = relabel(f"s3://{IMAGES}/b/")
    assert other > first
    assert relabel(f"s3://{IMAGES}/a/") > other, "the last run was over another prefix"


def test_a_stopped_backfill_is_a_conflict_that_says_to_run_again(digits, machine, monkeypatch):
    monkeypatch.setattr(backfill, "_POLL_SECONDS", 0.01)
    sfn = boto3.client("stepfunctions")
    digits("backfill", f"s3://{IMAGES}", "--no-wait")
    (run,) = sfn.list_executions(stateMachineArn=machine)["executions"]
    found = backfill.Backfill(sfn, run["executionArn"])
    watching = found.watch()
    assert next(watching) == backfill.Progress(0, None)
    sfn.stop_execution(executionArn=run["executionArn"], cause="enough")
    with pytest.raises(backfill.Conflict, match=r"ABORTED.*run the same command again"):
        list(watching)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("status", "s3://elsewhere/x"), "labels s3://test-images"),
        (("status", "somewhere"), "not an s3:// address"),
        (("status", "s3://test-images", "--stack", "none"), "There is no stack none"),
        (("collect", "s3://test-labels/feedback/"), "Labels are below"),
        (("collect", "s3://nobodys-bucket"), "NoSuchBucket"),
        (("collect", "s3://test-labels", "--out", "/nowhere/a.csv"), "Cannot write"),
        (("correct", "s3://test-images/none", "7"), "There is no image"),
        (("correct", "s3://test-images/a", "x"), "'x' is not a valid correction: use digits and"),
        (("correct", "s3://test-images/a", "1" * 4097), "at most 4,096 characters"),
        (("diff", "none.csv", "none.csv"), "Cannot read none.csv"),
        (("diff", "s3://nobodys-bucket", "none.csv"), "NoSuchBucket"),
        (("diff", "s3://test-labels/feedback/", "none.csv"), "Labels are below"),
        (("diff", __file__, __file__), "is not a table"),
        (("backfill", "s3://test-images", "--inventory", "s3://x/manifest.json"), "/inventory/"),
        (("backfill", "s3://test-images", "--inventory", MANIFEST), "within 48 hours"),
    ],
)
def test_an_impossible_request_is_an_error_of_one_line(s3, digits, arguments, says):
    s3.put_object(Bucket=IMAGES, Key="a", Body=b"x")
    out, err, code = digits(*arguments)
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in out + err


def test_a_table_in_another_order_is_refused(digits, tmp_path, labelled):
    labelled(a="seven.png", b="seven.png")
    digits("collect", f"s3://{LABELS}", "--out", tmp_path / "a.csv")
    head, one, two = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "b.csv").write_text("\n".join((head, two, one)) + "\n")
    _, err, code = digits("diff", tmp_path / "a.csv", tmp_path / "b.csv")
    assert code == 2
    assert "is not in the order of `digits labels collect`" in err
