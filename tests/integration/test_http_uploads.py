"""Uploads over the payload limit by presigned URL, their labels, and feedback."""

from __future__ import annotations

import base64
import io
import json
import re
import urllib.parse

import boto3
import numpy as np
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from PIL import Image

from digits import image
from digits.labels import feedback as corrections
from digits.labels.label import Source, Tombstone, error_label, label_key
from digits.registry import object_store
from digits.results import ModelInfo
from tests import gateway
from tests.conftest import GOLDEN
from tests.integration.conftest import IMAGES, LABELS, fresh

MODEL = ModelInfo(version="v", sha256="0", preprocessing="1")


@pytest.fixture
def call(http_api, context):
    def answer(method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        event = gateway.event(method, path, headers=headers, body=data, as_base64=False)
        response = http_api.handler(event, context)
        return response["statusCode"], json.loads(response["body"]), response

    return answer


@pytest.fixture
def offer(call):
    return call("POST", "/uploads", {"name": "IMG_1.jpg", "size": 5_000_000})[1]


def put_label(s3, key, label):
    s3.put_object(Bucket=LABELS, Key=label_key(key), Body=label.model_dump_json().encode())


def an_error(key):
    source = Source(bucket=IMAGES, key=key)
    return error_label(image.TooLarge("Too large."), source, "single", MODEL)


# --- Uploads ---


def test_an_upload_url_is_presigned_for_one_key(call):
    status, offer, _ = call("POST", "/uploads", {"name": "IMG_1.jpg", "size": 5_000_000})
    assert status == 201
    assert set(offer) == {"key", "url", "method", "headers", "expires_at", "max_bytes"}
    assert re.fullmatch(r"uploads/\d{4}-\d\d-\d\d/[A-Za-z0-9_-]{22}/IMG_1\.jpg", offer["key"])
    assert (offer["method"], offer["max_bytes"]) == ("PUT", 20 * 1024**2)
    address = urllib.parse.urlsplit(offer["url"])
    query = urllib.parse.parse_qs(address.query)
    assert address.scheme == "https"
    assert address.path.endswith("/" + offer["key"])
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["900"]


def test_a_presigned_url_is_bound_to_the_size_and_to_a_new_key(call):
    """S3 refuses a PUT whose signed headers differ, and with If-None-Match an existing key."""
    _, offer, _ = call("POST", "/uploads", {"name": "IMG_1.jpg", "size": 5_000_000})
    assert offer["headers"] == {"If-None-Match": "*"}
    assert is_signed(offer, {"content-length": "5000000", "if-none-match": "*"})
    assert not is_signed(offer, {"content-length": "5000001", "if-none-match": "*"})


def is_signed(offer, headers):
    """Return whether S3 accepts a PUT with these headers, by computing the signature again."""
    url, _, signature = offer["url"].partition("&X-Amz-Signature=")
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert query["X-Amz-SignedHeaders"] == ";".join(sorted({*headers, "host"}))
    signer = S3SigV4QueryAuth(boto3.Session().get_credentials(), "s3", "us-east-1")
    request = AWSRequest("PUT", url, headers=headers)
    request.context["timestamp"] = query["X-Amz-Date"]
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    return signer.signature(to_sign, request) == signature


def test_an_upload_over_the_limit_gets_no_url(call):
    status, problem, _ = call("POST", "/uploads", {"name": "a", "size": 20 * 1024**2 + 1})
    assert (status, problem["code"]) == (413, "too_large")
    assert call("POST", "/uploads", {"name": "a", "size": 20 * 1024**2})[0] == 201


def test_the_headers_of_an_upload_are_returned_and_signed(call):
    wanted = {
        "name": "a.heic",
        "size": 7,
        "content_type": "image/heic",
        "mode": "multiple",
    }
    offer = call("POST", "/uploads", wanted)[1]
    assert offer["headers"] == {
        "Content-Type": "image/heic",
        "If-None-Match": "*",
        "x-amz-meta-digits-mode": "multiple",
    }
    sent = {name.lower(): it for name, it in offer["headers"].items()}
    assert is_signed(offer, {"content-length": "7", **sent})


def test_the_upload_url_is_the_regional_address_of_the_bucket(environment, context):
    environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    module = fresh("http_api")
    event = gateway.event(
        *("POST", "/uploads"),
        headers={"Content-Type": "application/json"},
        body=b'{"name": "a", "size": 7}',
    )
    url = json.loads(module.handler(event, context)["body"])["url"]
    assert urllib.parse.urlsplit(url).netloc == f"{IMAGES}.s3.eu-west-1.amazonaws.com"


def test_uploads_of_the_same_name_get_different_keys(call):
    keys = {call("POST", "/uploads", {"name": "a.png", "size": 7})[1]["key"] for _ in range(3)}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\my seven.PNG", "my_seven.PNG"),
        ("..", "image"),
        ("日本", "image"),
        ("é+%2F?#.png", "e_2F_.png"),
        ("\x00\r\n", "image"),
        ("x" * 300 + ".png", "x" * 96 + ".png"),
    ],
)
def test_a_file_name_is_sanitised_in_the_key(call, name, safe):
    status, offer, _ = call("POST", "/uploads", {"name": name, "size": 7})
    assert status == 201
    assert offer["key"].split("/")[3:] == [safe]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "a"},
        {"name": "a", "size": 0},
        {"name": "a", "size": "much"},
        {"name": "", "size": 7},
        {"name": 7, "size": 7},
        {"name": "a", "size": 7, "mode": "both"},
        {"name": "a", "size": 7, "content_type": "text/html"},
        {"name": "a", "size": 7, "content_type": "image/png\r\nx: y"},
        {"name": "a", "size": 7, "url": "http://example.org/a.png"},
        [],
        "a",
    ],
)
def test_an_invalid_upload_request_is_refused(call, body):
    status, problem, _ = call("POST", "/uploads", body)
    assert (status, problem["code"]) == (400, "bad_request")


# --- Labels ---


def test_a_label_is_404_before_the_upload_then_202_then_200(call, s3, offer):
    path = f"/labels/{offer['key']}"
    assert call("GET", path)[1]["code"] == "not_found"

    s3.put_object(Bucket=IMAGES, Key=offer["key"], Body=b"x")
    status, body, response = call("GET", path)
    assert (status, body) == (202, {"status": "waiting"})
    assert int(response["multiValueHeaders"]["Retry-After"][0]) > 0

    label = an_error(offer["key"])
    put_label(s3, offer["key"], label)
    status, body, _ = call("GET", path)
    assert (status, body) == (200, json.loads(label.model_dump_json()))


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_label_is_found_by_its_percent_encoded_key(call, s3, offer, slash):
    put_label(s3, offer["key"], an_error(offer["key"]))
    path = offer["key"].replace("/", slash)
    assert call("GET", f"/labels/{path}")[0] == 200


def test_the_label_of_a_deleted_image_is_404(call, s3, offer):
    source = Source(bucket=IMAGES, key=offer["key"])
    put_label(s3, offer["key"], Tombstone(source=source))
    assert call("GET", f"/labels/{offer['key']}")[0] == 404


@pytest.mark.parametrize(
    "key",
    [
        "photos/mine.png",
        "uploads/mine.png",
        "uploads/2026-11-26/short/a.png",
        "uploads/2026-11-26/aaaaaaaaaaaaaaaaaaaaaa/../../../photos/mine.png",
        "uploads/2026-11-26/aaaaaaaaaaaaaaaaaaaaaa/a%252Fb",
        ".long/" + "0" * 64,
    ],
)
def test_labels_of_images_outside_uploads_are_404(call, s3, key):
    for place in {key, urllib.parse.unquote(key)}:
        s3.put_object(Bucket=IMAGES, Key=place, Body=b"x")
        put_label(s3, place, an_error(place))
    status, problem, _ = call("GET", f"/labels/{key}")
    assert (status, problem["code"]) == (404, "not_found")


# --- Feedback ---


def kept(s3):
    """Read each object below ``feedback/``, by the last part of its key."""
    found = s3.list_objects_v2(Bucket=LABELS).get("Contents", [])
    return {
        it["Key"].rpartition("/")[2]: s3.get_object(Bucket=LABELS, Key=it["Key"])["Body"].read()
        for it in found
        if it["Key"].startswith("feedback/")
    }


def test_feedback_is_stored_with_all_its_fields(call, s3, seven):
    sent = {"truth": "1", "answer": "7", "model": "v1", "image": base64.b64encode(seven).decode()}
    status, answer, _ = call("POST", "/feedback", sent)
    assert status == 202
    record = corrections.Feedback.model_validate_json(kept(s3)["feedback.json"])
    assert (record.id, record.truth, record.answer, record.model, record.key) == (
        *(answer["id"], "1", "7", "v1", None),
    )


@pytest.mark.parametrize("truth", ["", "7", "12\n3?", "-5×3\n=-15\f\f12/05", "0" * 4096])
def test_feedback_accepts_every_text_that_a_result_can_have(call, s3, one, truth):
    image = base64.b64encode(one).decode()
    sent = {"truth": truth, "answer": truth, "model": "v1", "image": image}
    assert call("POST", "/feedback", sent)[0] == 202
    record = json.loads(kept(s3)["feedback.json"])
    assert (record["truth"], record["answer"]) == (truth, truth)


def test_an_invalid_correction_is_refused_with_the_reason(call):
    sent = {"truth": "seven", "model": "v1", "image": "AAAA"}
    assert (
        "(truth: 'seven' is not a valid correction: use digits and signs,"
        in (call("POST", "/feedback", sent)[1]["detail"])
    )


def test_the_metadata_of_an_image_is_not_stored(call, s3):
    exif = Image.Exif()
    exif[0x010F] = "a camera of mine"
    exif.get_ifd(0x8825)[1] = "N"
    photo = io.BytesIO()
    Image.open(GOLDEN / "one.jpg").save(photo, "JPEG", exif=exif)
    assert b"a camera of mine" in photo.getvalue()
    sent = {"truth": "1", "model": "v", "image": base64.b64encode(photo.getvalue()).decode()}
    assert call("POST", "/feedback", sent)[0] == 202
    picture = Image.open(io.BytesIO(kept(s3)["image.png"]))
    assert (dict(picture.getexif()), picture.info) == ({}, {})


def test_the_stored_image_has_the_pixels_that_were_classified(call, s3, seven):
    sent = {"truth": "7", "model": "v", "image": base64.b64encode(seven).decode()}
    call("POST", "/feedback", sent)
    again = image.decode(kept(s3)["image.png"]).grey
    np.testing.assert_array_equal(again, image.decode(seven).grey)


def test_feedback_on_an_upload_is_sent_with_its_key(call, s3, offer, seven):
    sent = {"truth": "7", "model": "v", "key": offer["key"]}
    assert call("POST", "/feedback", sent)[0] == 404
    s3.put_object(Bucket=IMAGES, Key=offer["key"], Body=seven)
    assert call("POST", "/feedback", sent)[0] == 202
    assert json.loads(kept(s3)["feedback.json"])["key"] == offer["key"]


def test_feedback_on_an_upload_that_is_too_large_is_refused(call, s3, offer):
    s3.put_object(Bucket=IMAGES, Key=offer["key"], Body=bytes(20 * 1024**2 + 1))
    status, problem, _ = call(
        "POST", "/feedback", {"truth": "7", "model": "v", "key": offer["key"]}
    )
    assert (status, problem["code"]) == (413, "too_large")
    assert not kept(s3)


def test_feedback_on_an_archived_upload_is_refused(call, s3, offer, seven):
    s3.put_object(Bucket=IMAGES, Key=offer["key"], Body=seven, StorageClass="GLACIER")
    sent = {"truth": "7", "model": "v", "key": offer["key"]}
    status, problem, _ = call("POST", "/feedback", sent)
    assert (status, problem["code"]) == (409, "archived")
    assert not kept(s3)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"truth": "seven"}, 400, "bad_request"),
        ({"truth": "0" * 4097}, 400, "bad_request"),
        ({"truth": 7}, 400, "bad_request"),
        ({"truth": None}, 400, "bad_request"),
        ({"model": ""}, 400, "bad_request"),
        ({"model": "a/b"}, 400, "bad_request"),
        ({"answer": "seven"}, 400, "bad_request"),
        ({"key": "uploads/2026-11-26/aaaaaaaaaaaaaaaaaaaaaa/a.png"}, 400, "bad_request"),
        ({"image": ""}, 400, "bad_request"),
        ({"image": "***"}, 400, "bad_request"),
        ({"image": base64.b64encode(b"not an image").decode()}, 415, "unsupported_format"),
        ({"image": base64.b64encode(b"\x89PNG\r\n\x1a\n cut").decode()}, 422, "unreadable_image"),
        ({"url": "http://example.org/"}, 400, "bad_request"),
    ],
)
def test_invalid_feedback_is_refused_and_not_stored(call, s3, seven, change, status, code):
    sent = {"truth": "7", "model": "v", "image": base64.b64encode(seven).decode()} | change
    given, problem, _ = call("POST", "/feedback", sent)
    assert (given, problem["code"]) == (status, code)
    assert not kept(s3)


def test_feedback_on_single_digits_is_collected_as_training_data(call, s3, seven, tmp_path):
    encoded = base64.b64encode(seven).decode()
    for truth in ("7", "12", ""):
        call("POST", "/feedback", {"truth": truth, "model": "v", "answer": "1", "image": encoded})
    counts = corrections.collect(object_store.open_store(f"s3://{LABELS}"), tmp_path)
    assert counts == (1, 2)

    from training_job import extra_data

    assert extra_data.load(str(tmp_path)).split.y.tolist() == [7]


# --- Storage ---


@pytest.mark.parametrize("missing", ["DIGITS_IMAGES_BUCKET", "DIGITS_LABELS_BUCKET"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/uploads", {"name": "a", "size": 7}),
        ("GET", "/labels/uploads/a", None),
        ("POST", "/feedback", {"truth": "7", "model": "v", "image": "AAAA"}),
    ],
)
def test_calls_that_need_a_missing_bucket_setting_are_answered_with_503(
    environment, context, missing, method, path, body
):
    environment.delenv(missing)
    module = fresh("http_api")
    event = gateway.event(
        method,
        path,
        headers={"Content-Type": "application/json"},
        body=body and json.dumps(body).encode(),
    )
    response = module.handler(event, context)
    problem = json.loads(response["body"])
    assert (response["statusCode"], problem["code"]) == (503, "storage_unavailable")


def test_an_s3_error_is_answered_with_503_without_account_details(call, s3, offer):
    for bucket in (IMAGES, LABELS):
        boto3.resource("s3").Bucket(bucket).object_versions.delete()
        s3.delete_bucket(Bucket=bucket)
    status, problem, response = call("GET", f"/labels/{offer['key']}")
    assert (status, problem["code"]) == (503, "storage_unavailable")
    assert LABELS not in response["body"]
