"""Request bodies as clients send them (base64, JSON, forms), and events of other sources."""

import base64
import contextlib
import io
import json
import quopri

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from digits.errors import BadRequest
from lambda_predict import http_event, multipart
from lambda_predict.encoded import decoded
from tests import gateway

BYTES = bytes(range(256)) * 3
PLAIN = base64.b64encode(BYTES).decode()
SAFE = base64.urlsafe_b64encode(BYTES).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        base64.encodebytes(BYTES).decode(),
        "\r\n".join(PLAIN[at : at + 64] for at in range(0, len(PLAIN), 64)) + "\r\n",
        f"  {PLAIN}\n",
        SAFE,
        SAFE.rstrip("="),
        f"data:image/png;base64,{PLAIN}",
        f"data:;base64,{SAFE.rstrip('=')}",
        f"DATA:image/png;charset=x;BASE64,{PLAIN}",
        f"data:image/png;base64,{PLAIN.replace('+', '%2B').replace('/', '%2F')}",
    ],
)
@pytest.mark.parametrize("more", [0, 1, 2])
def test_base64_is_decoded_in_every_common_form(text, more):
    assert decoded(text, "data") == BYTES
    short = BYTES[: len(BYTES) - more]
    assert decoded(base64.b64encode(short).decode().rstrip("="), "data") == short
    assert decoded(base64.encodebytes(short * 4_000).decode(), "data") == short * 4_000


def test_a_data_url_without_base64_is_percent_decoded():
    assert decoded("data:,a%00%FFb", "data") == b"a\0\xffb"


@pytest.mark.parametrize(
    ("text", "where"),
    [("***", "offset 0"), ("QUJD*", "offset 4"), ("QU\nJD ü", "offset 6"), ("QUJDR", "offset 5"),
     ("QU=JD", "offset 2"), ("data:;base64,QU*D", "offset 15"), ("A" * 800_000 + "!", "800,000")],
)  # fmt: skip
def test_invalid_base64_is_refused_with_the_offset_of_the_error(text, where):
    with pytest.raises(BadRequest, match=where) as caught:
        decoded(text, "images.2.data")
    assert str(caught.value).startswith("images.2.data is not valid base64")


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda it: base64.b64encode(it).decode()))
@settings(deadline=None)
def test_decoding_any_text_returns_bytes_or_raises_bad_request(text):
    try:
        assert isinstance(decoded(text, "data"), bytes)
    except BadRequest as error:
        assert "offset" in str(error)


@pytest.fixture
def call(http_api, context):
    def answer(body, content_type):
        event = gateway.event(
            "POST", "/classify", headers={"Content-Type": content_type}, body=body
        )
        response = http_api.handler(event, context)
        return response["statusCode"], json.loads(response["body"])

    return answer


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_with_a_byte_order_mark_is_read(call, seven, encoding):
    data = base64.encodebytes(seven).decode()
    sent = json.dumps({"images": [{"id": "ä", "data": data}]}, ensure_ascii=False)
    status, body = call(sent.encode(encoding), "application/json")
    assert status == 200
    assert [(item["id"], item["text"]) for item in body["results"]] == [("ä", "7")]


def test_invalid_base64_in_json_names_the_item_and_does_not_affect_others(call, seven):
    images = [{"id": "a", "data": base64.b64encode(seven).decode()}, {"id": "b", "data": "QU*D"}]
    status, body = call(json.dumps({"images": images}).encode(), "application/json")
    assert status == 200
    assert body["results"][0]["text"] == "7"
    message = body["results"][1]["error"]["message"]
    assert message.startswith("images.1.data is not valid base64: at offset 2 ")


def test_invalid_json_is_refused_with_the_position_of_the_error(call):
    status, body = call(b'{"images": [}', "application/json")
    assert (status, body["code"]) == (400, "bad_request")
    assert "line 1 column 13" in body["detail"]


def form(*parts: tuple[str | bytes, bytes], before=b"", after=b"", boundary="XX"):
    """Build a form of (headers, content) parts; headers are without the final line break."""
    body = before
    for headers, content in parts:
        raw = headers if isinstance(headers, bytes) else headers.encode()
        body += b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), raw, content)
    return body + b"--%s--\r\n%s" % (boundary.encode(), after)


DISPOSITION = "Content-Disposition: form-data"
TYPE = "multipart/form-data; boundary=XX"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (f"{DISPOSITION}; name=a; filename*=UTF-8''sieben%20%C3%A4.png", "sieben ä.png"),
        (f"{DISPOSITION}; name=a; filename*=iso-8859-1'de'%E4.png", "ä.png"),
        (f"{DISPOSITION}; name=a; filename=x.png; filename*=UTF-8''%E2%82%AC.png", "€.png"),
        (f'{DISPOSITION}; name="a"; filename="ä.png"', "ä.png"),
        (f'{DISPOSITION}; name="a"; filename="ä.png"'.encode("latin-1"), "ä.png"),
        (f'{DISPOSITION}; name="a"; filename="a\\"b.png"', 'a"b.png'),
        (f'{DISPOSITION}; name="a"; filename="a%22b; c.png"', 'a"b; c.png'),
        (f'{DISPOSITION}; name="a"; filename="100%25.png"', "100%25.png"),
        (f'{DISPOSITION}; name="a"; filename="=?UTF-8?B?w6QucG5n?="', "ä.png"),
        (f'{DISPOSITION}; filename="a.png"', "a.png"),
        ('content-disposition: FORM-DATA; NAME="a"; FILENAME="A.PNG"', "A.PNG"),
        (f'{DISPOSITION}; name="scan"\r\nContent-Type: image/png', "scan"),
        (f'{DISPOSITION}; name="scan"\r\nContent-Type: application/octet-stream', "scan"),
        (f'{DISPOSITION}; name="scan"', "scan"),
    ],
)
def test_the_id_of_a_form_part_is_its_file_name_or_field_name(call, seven, headers, name):
    status, body = call(form((headers, seven)), TYPE)
    assert status == 200
    assert [(item["id"], item.get("text")) for item in body["results"]] == [(name, "7")]


@pytest.mark.parametrize("boundary", ["XX", "----Web Kit'()+_,-./:=?", "-"])
def test_a_form_may_have_a_preamble_an_epilogue_and_other_fields(call, seven, boundary):
    body = form(
        (f'{DISPOSITION}; name="note"', b"a text"),
        (f'{DISPOSITION}; name="empty"; filename=""', b""),
        (f'{DISPOSITION}; name="a"; filename="a.png"', seven),
        before=b"This is a message in several parts.\r\n",
        after=b"the end",
        boundary=boundary,
    )
    status, answer = call(body, f'multipart/form-data; charset=utf-8; boundary="{boundary}"')
    assert status == 200
    assert [(item["id"], item["text"]) for item in answer["results"]] == [("a.png", "7")]


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("base64", base64.encodebytes), ("quoted-printable", quopri.encodestring), ("8bit", bytes)],
)
def test_the_transfer_encoding_of_a_form_part_is_decoded(encoding, encode):
    found = []
    headers = f'{DISPOSITION}; name="a"; filename="a"\r\nContent-Transfer-Encoding: {encoding}'
    multipart.read(form((headers, encode(BYTES))), TYPE, found.append)
    assert [part.data() for part in found] == [BYTES]


def test_a_truncated_form_is_refused(call, seven):
    part = (f'{DISPOSITION}; name="a"; filename="a"', seven)
    status, body = call(form(part, part)[:-40], TYPE)
    assert (status, body["code"]) == (400, "bad_request")
    assert "does not end with the boundary" in body["detail"]


@given(
    st.lists(
        st.sampled_from([b"--XX", b"--", b"\r\n", b"\r\n\r\n", b"Content-Disposition: ", b"; "])
        | st.sampled_from([b"filename*=", b"name=", b'"', b"UTF-8''%E4", b"=?x?B?=?=", b"\xff"])
        | st.binary(max_size=5),
        max_size=25,
    )
)
@settings(deadline=None)
def test_parsing_any_form_returns_parts_or_raises_bad_request(pieces):
    def take(part):
        assert isinstance(part.name, str)
        if part.is_file:
            part.data()

    with contextlib.suppress(BadRequest):
        multipart.read(b"--XX\r\n" + b"".join(pieces), TYPE, take)


@pytest.mark.parametrize("name", ["MPO", "PPM"])
def test_further_formats_of_the_library_are_read_over_http(call, seven, name):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(seven)).convert("RGB").save(buffer, name)
    status, body = call(buffer.getvalue(), "image/jpeg")
    assert (status, body["text"]) == (200, "7")


def payload_2(method, path, *, route="$default", stage="$default", body=None, query="", headers=()):
    """Build an event of an HTTP API or of a function URL."""
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path if stage == "$default" else f"/{stage}{path}",
        "rawQueryString": query,
        "headers": {"accept": "*/*", **dict(headers)},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "127.0.0.1"},
            "requestId": "http-api-1",
            "stage": stage,
        },
        "body": base64.b64encode(body).decode() if body is not None else None,
        "isBase64Encoded": body is not None,
    }


@pytest.mark.parametrize(
    ("route", "stage"), [("$default", "$default"), ("$default", "v1"), ("POST /classify", "v1")]
)
def test_an_event_of_an_http_api_is_answered_like_one_of_a_rest_api(
    http_api, context, seven, route, stage
):
    event = payload_2(
        *("POST", "/classify"),
        route=route,
        stage=stage,
        body=seven,
        query="multiple=true&explain=true",
        headers={"content-type": "image/png"},
    )
    response = http_api.handler(event, context)
    body = json.loads(response["body"])
    assert (response["statusCode"], body["text"]) == (200, "7")
    assert "explanation" in body["digits"][0]
    assert response["headers"]["Content-Type"] == "application/json"
    assert response["headers"]["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health", 200), ("GET", "/nothing", 404), ("GET", "/classify", 405),
     ("HEAD", "/model", 200), ("POST", "/classify", 400),
     ("GET", "/labels/uploads/2026-11-26/aaaaaaaaaaaaaaaaaaaaaa/a.png", 404)],
)  # fmt: skip
def test_every_call_of_an_http_api_has_the_status_of_the_rest_apis(
    http_api, context, method, path, status
):
    assert http_api.handler(payload_2(method, path), context)["statusCode"] == status
    assert http_api.handler(gateway.event(method, path), context)["statusCode"] == status


def test_a_problem_of_an_http_api_carries_its_request_id(http_api, context):
    body = json.loads(http_api.handler(payload_2("GET", "/nothing"), context)["body"])
    assert body["request_id"] == "http-api-1"


@pytest.mark.parametrize("source", ["aws.events", "aws.scheduler"])
def test_a_scheduled_event_is_answered_with_204(http_api, context, source):
    event = {"version": "0", "source": source, "detail-type": "Scheduled Event", "detail": {}}
    assert http_api.handler(event, context)["statusCode"] == 204


@pytest.mark.parametrize(
    "event",
    [{}, [], None, "ping", {"warmup": True}, {"version": "2.0"}, {"Records": []},
     {"httpMethod": "GET"}, {"resource": "/health"}, {"version": "2.0", "requestContext": {}}],
)  # fmt: skip
def test_an_event_that_is_not_a_request_is_answered_with_how_to_send_one(http_api, context, event):
    response = http_api.handler(event, context)
    body = json.loads(response["body"])
    assert (response["statusCode"], body["code"]) == (400, "bad_request")
    assert "not an HTTP request" in body["detail"]


def test_a_load_balancers_request_is_answered(http_api, context):
    event = {
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "httpMethod": "GET",
        "path": "/health",
        "queryStringParameters": {},
        "headers": {"accept": "*/*"},
        "body": "",
        "isBase64Encoded": False,
    }
    response = http_api.handler(event, context)
    assert (response["statusCode"], json.loads(response["body"])["status"]) == (200, "ok")


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = ["version", "requestContext", "httpMethod", "path", "resource", "source", "headers", "http"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON) | JSON)
@settings(deadline=None)
def test_converting_any_event_returns_a_request_or_none(event):
    request = http_event.of_rest_api(event)
    assert request is None or "path" in request
