"""Everything of ours that reads takes what earlier versions wrote and what later ones may add."""

from __future__ import annotations

import csv
import io
import json
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any, get_args
from urllib.error import HTTPError

import boto3
import jsonschema
import pytest
from moto import mock_aws
from pydantic import ValidationError

from digits.cli.labels import collected
from digits.errors import TooLarge
from digits.labels import feedback
from digits.labels.label import Source, Written, correction_key, label_key
from digits.registry import bundle
from digits.registry.object_store import FolderStore
from digits.registry.registry import Pointer
from digits.results import Reason, Result, read
from lambda_predict import openapi
from streamlit_app import api, cards, engine, inside, table, words
from streamlit_app.api import Api
from tests.conftest import GOLDEN

SHAPES = Path(__file__).parents[1] / "shapes"
SERVICE = Api("https://example.org/v1", "the key")
# Which schema of openapi.json describes an answer of each kind.
ANSWERS = {
    "result": "Result",
    "results": "ClassifyResponse",
    "problem": "Problem",
    "upload": "Upload",
    "waiting": "Waiting",
    "health": "Health",
    "receipt": "FeedbackKept",
}


def of(*kinds: str, but: str = "") -> Any:
    """Parametrize a test by the files of these kinds, of every version."""
    files = [it for it in sorted(SHAPES.glob("*/*")) if it.name.partition(".")[0] in kinds]
    files = [it for it in files if it.name != but]
    assert {it.parent.name for it in files} >= {"0.1.0", "future"}
    ids = [f"{it.parent.name}/{it.name}" for it in files]
    return pytest.mark.parametrize("shape", files, ids=ids)


@cache
def document() -> dict[str, Any]:
    return openapi.document()


@pytest.fixture
def s3():
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="labels")
        yield client


def rows(s3: Any, label: Path, correction: Path | None = None) -> list[collected.Row]:
    """What `digits labels collect` says of a label, and of its correction."""
    key = json.loads(label.read_text())["source"]["key"]
    s3.put_object(Bucket="labels", Key=label_key(key), Body=label.read_bytes())
    if correction:
        s3.put_object(Bucket="labels", Key=correction_key(key), Body=correction.read_bytes())
    return [row for some in collected.rows_of("s3://labels") for row in some]


@of("result")
def test_the_app_shows_what_any_version_of_the_api_answers(shape, monkeypatch):
    told = json.loads(shape.read_text())
    monkeypatch.setattr(Api, "_post", lambda *_: shape.read_bytes())
    monkeypatch.setattr(engine, "chosen", lambda: SERVICE)

    reading = engine.read("a.pdf", b"%PDF-2.0 of a later version", "full")

    assert reading.result is not None
    shown = cards.card(reading) + inside.shown(reading, [])
    listed = table.html([(0, reading)])
    if told["text"]:
        assert told["text"] in shown
    if told["reason"] not in (None, *get_args(Reason)):
        assert told["reason"] in shown
        assert told["reason"] in listed
    assert "<i>unexpected" not in shown + listed
    (line,) = csv.DictReader(io.StringIO(table.as_csv([reading]).decode("utf-8-sig")))
    (document,) = json.loads(table.as_json([reading]))
    for row in (line, document):
        assert (row["text"] or None, row["reason"] or None) == (told["text"], told["reason"])
    assert document["needs_review"] == told["needs_review"]


@pytest.mark.parametrize("name", ["result.pages.json", "result.fields.json"])
def test_an_answer_that_the_app_cannot_show_whole_says_so_and_is_for_review(name):
    result = read(Result, (SHAPES / "future" / name).read_bytes())
    reading = engine.Reading("a.pdf", result)

    assert "cannot show the whole answer" in cards.card(reading)
    assert "cannot show the whole answer" in table.html([(0, reading)])
    assert table.group_of(reading) == "look"


def test_signs_alone_are_shown_without_a_certainty_that_is_not_theirs():
    result = read(Result, (SHAPES / "future/result.signs_only.json").read_bytes())
    card = cards.card(engine.Reading("a.png", result))
    assert '<p class="text" style="--length:1">-</p>' in card
    assert "certain" not in card


def test_every_reason_that_is_written_has_words_of_its_own():
    result = read(Result, (SHAPES / "0.1.0/result.single.json").read_bytes())
    for reason in get_args(Reason):
        advice = words.advice(result.model_copy(update={"reason": reason}))
        assert advice is not None
        assert advice.headline != reason


@pytest.mark.parametrize(
    "shape", [it for it in (SHAPES / "future").glob("result.*") if "full" not in it.name]
)
def test_what_is_written_stays_strict(shape):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Result.model_validate_json(shape.read_bytes())
    told = read(Result, shape.read_bytes()).model_dump() | {"reason": "unread_ink"}
    with pytest.raises(ValidationError, match="must be one of blank, not_a_digit"):
        Result.model_validate(told)


@of("label")
def test_a_label_of_any_version_is_collected_as_it_says(shape, s3):
    told = json.loads(shape.read_text())
    if told.get("deleted"):
        assert rows(s3, shape) == []
        return
    (row,) = rows(s3, shape)
    assert (row.text or None, row.reason or None) == (told["text"], told["reason"])
    assert row.needs_review == told["needs_review"]
    assert row.error == told.get("error", {"code": ""})["code"]
    assert row.model == told["model"]["version"]
    assert row.labelled_at == told["labelled_at"]
    sure = [digit["confidence"] for digit in told.get("digits", [])]
    assert row.confidence == min(sure, default=None)


@of("label")
def test_a_label_of_any_version_is_known_to_be_of_its_image(shape):
    told = json.loads(shape.read_text())
    source = {name: told["source"][name] for name in Source.model_fields}
    image = Source(**source)
    label = Written.read(shape.read_bytes())
    assert label.is_of(image)
    assert label.deleted == told.get("deleted", False)
    assert not label.is_of(image.model_copy(update={"etag": "another"}))


@of("correction")
def test_a_correction_of_any_version_is_collected_as_it_says(shape, s3):
    (row,) = rows(s3, SHAPES / "0.1.0/label.single.json", shape)
    assert row.truth == json.loads(shape.read_text())["truth"]


@of("table")
def test_a_table_of_any_version_is_compared(shape):
    found = collected.diff(str(shape), str(shape), lambda _: None)
    assert (found.images, found.same, found.known) == (3, 3, 1)
    assert found.review_before == (3 if shape.parent.name == "future" else 2)


@of("feedback")
def test_feedback_of_any_version_becomes_a_line_to_train_from(shape, tmp_path):
    folder = tmp_path / feedback.PREFIX / "2026-11-26/a"
    folder.mkdir(parents=True)
    (folder / feedback.RECORD).write_bytes(shape.read_bytes())
    (folder / feedback.IMAGE).write_bytes((GOLDEN / "seven.png").read_bytes())

    assert feedback.collect(FolderStore(tmp_path), tmp_path / "out") == (1, 0)

    (line,) = csv.DictReader(io.StringIO((tmp_path / "out/labels.csv").read_text()))
    told = json.loads(shape.read_text())
    assert (line["truth"], line["answer"]) == (told["truth"], told["answer"] or "")


@of("problem")
def test_a_problem_of_any_version_is_shown_in_its_own_words(shape):
    told = json.loads(shape.read_text())
    error = HTTPError("", told["status"], "", Message(), io.BytesIO(shape.read_bytes()))
    refused = api._refusal(error)
    assert isinstance(refused, TooLarge)
    assert str(refused) == told["detail"]


@of("receipt")
def test_a_receipt_of_any_version_is_understood(shape, monkeypatch):
    monkeypatch.setattr(Api, "_post", lambda *_: shape.read_bytes())
    receipt = SERVICE.correct(b"picture", "7", "1", "v")
    assert receipt == json.loads(shape.read_text())["id"]


@of("manifest")
def test_a_manifest_of_any_version_is_read_and_kept_whole(shape):
    told = json.loads(shape.read_text())
    manifest = bundle.parse_manifest(shape.read_bytes())
    assert json.loads(manifest.to_json()) == told


@of("pointer")
def test_a_pointer_of_any_version_is_followed(shape):
    pointer = Pointer.model_validate_json(shape.read_bytes())
    assert pointer.version == json.loads(shape.read_text())["version"]


@of(*ANSWERS, "label", but="label.tombstone.json")
def test_the_description_of_the_api_promises_no_less_than_any_version_answers(shape):
    kind = shape.name.partition(".")[0]
    told = json.loads(shape.read_text())
    label = "ErrorLabel" if "error" in told else "ImageLabel"
    name = label if kind == "label" else ANSWERS[kind]
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    jsonschema.validate(told, schema, jsonschema.Draft202012Validator)


def test_answers_are_open_and_requests_are_not():
    requests = {"ClassifyRequest", "EncodedImage", "UploadRequest", "FeedbackRequest"}
    for name, schema in document()["components"]["schemas"].items():
        closed = '"additionalProperties": false' in json.dumps(schema)
        assert closed == (name in requests), name
        assert ('"enum"' in json.dumps(schema)) == (name == "UploadRequest"), name
    reason = document()["components"]["schemas"]["Digit"]["properties"]["reason"]
    assert reason["anyOf"][0] == {"type": "string", "x-extensible-enum": [*get_args(Reason)]}
    code = document()["components"]["schemas"]["Problem"]["properties"]["code"]
    assert {"too_large", "throttled"} <= set(code["x-extensible-enum"])
    assert "x-extensible-enum" in document()["info"]["description"]


def test_every_kind_of_shape_has_a_test():
    tested = {*ANSWERS, "label", "correction", "table", "feedback", "manifest", "pointer"}
    for version in ("0.1.0", "future"):
        kinds = {it.name.partition(".")[0] for it in (SHAPES / version).iterdir()}
        assert kinds == tested, version


def test_only_text_is_read_where_a_reason_stands():
    told = json.loads((SHAPES / "0.1.0/result.single.json").read_text()) | {"reason": {"code": 1}}
    with pytest.raises(ValidationError):
        read(Result, json.dumps(told))
