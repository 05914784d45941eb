"""The HTTP function, called with events of API Gateway."""

import base64
import hashlib
import importlib
import io
import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from digits.results import Result
from lambda_predict.config import Settings
from lambda_predict.openapi import document
from tests import gateway
from tests.conftest import GOLDEN, truths
from tests.integration.conftest import fresh, publish_shipped


def request(method="POST", path="/classify", *, body=None, content_type=None, query=None):
    """Build an event of the REST API, with Lambda proxy integration and stage v1."""
    headers = {"Accept": "*/*", "x-api-key": "key"}
    if content_type:
        headers["Content-Type"] = content_type
    return gateway.event(method, path, headers=headers, query=query, body=body)


@pytest.fixture
def call(http_api, context):
    def answer(*args, **kwargs):
        response = http_api.handler(request(*args, **kwargs), context)
        return response["statusCode"], json.loads(response["body"]), response

    return answer


def as_json(*images):
    items = [
        {"id": name, "data": data if isinstance(data, str) else base64.b64encode(data).decode()}
        for name, data in images
    ]
    return {"body": json.dumps({"images": items}).encode(), "content_type": "application/json"}


def as_form(*files):
    parts = [
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n'
        b"Content-Type: image/png\r\n\r\n%s\r\n" % (name.encode(), data)
        for name, data in files
    ]
    return {
        "body": b"".join(parts) + b"--XX--\r\n",
        "content_type": "multipart/form-data; boundary=XX",
    }


def assert_problem(answer, status, code):
    given_status, body, response = answer
    assert (given_status, body["status"], body["code"]) == (status, status, code)
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id"}
    assert body["request_id"] == "gateway-request-1"
    assert response["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded",
     "Image/PNG; charset=binary", None],
)  # fmt: skip
def test_the_bytes_of_one_image_are_answered_with_its_result(call, seven, content_type):
    status, body, _ = call(body=seven, content_type=content_type)
    assert (status, body["text"]) == (200, "7")
    Result.model_validate(body)


def through_the_gateway(http_api, context, body, content_type):
    """Send a request as the template's gateway passes it, and return the answer."""
    headers = {"Content-Type": content_type} if content_type else {}
    event = gateway.event(
        *("POST", "/classify"),
        headers=headers,
        body=body,
        as_base64=gateway.is_binary(content_type or ""),
    )
    response = http_api.handler(event, context)
    return response["statusCode"], json.loads(response["body"]), response


@pytest.mark.parametrize(
    "content_type",
    ["image/jpeg", "image/jpg", "image/pjpeg", "image/x-png", "image/x-ms-bmp", "image/avif",
     "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded"],
)  # fmt: skip
def test_an_image_is_read_under_every_binary_content_type(http_api, context, one, content_type):
    status, body, _ = through_the_gateway(http_api, context, one, content_type)
    assert (status, body.get("text")) == (200, "1")


@pytest.mark.parametrize("name", ["one.jpg", "seven.png"])
def test_an_image_without_a_content_type_is_refused_with_advice_to_send_one(
    http_api, context, name
):
    """``requests.post(url, data=bytes)`` sends no type; the gateway decodes the body as text."""
    answer = through_the_gateway(http_api, context, (GOLDEN / name).read_bytes(), None)
    assert_problem(answer, 415, "unsupported_format")
    assert "send one, such as image/jpeg" in answer[1]["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/classify", 200), ("GET", "/health", 200), ("GET", "/docs", 200),
     ("GET", "/classify", 405), ("OPTIONS", "/model", 204),
     ("GET", "/labels/uploads/2026-11-26/aaaaaaaaaaaaaaaaaaaaaa/a.png", 404)],
)  # fmt: skip
def test_a_custom_domains_base_path_changes_no_answer(
    http_api, context, seven, method, path, status
):
    asked = {"headers": {"Content-Type": "image/png"}, "body": seven}
    plain = gateway.event(method, path, **asked)
    mapped = gateway.event(method, path, **asked, base_path="/digits")
    assert mapped["path"] == f"/digits{path}"
    answer = http_api.handler(mapped, context)
    assert answer["statusCode"] == status
    assert answer == http_api.handler(plain, context)


@pytest.mark.parametrize(("name", "truth"), truths().items())
def test_every_golden_picture_is_classified_correctly(call, name, truth):
    assert call(body=(GOLDEN / name).read_bytes(), content_type="image/png")[1]["text"] == str(
        truth
    )


def test_a_json_request_is_answered_with_one_result_per_image_in_order(call, seven, one):
    status, body, _ = call(**as_json(("a", seven), ("b", one), ("a", seven)))
    assert status == 200
    assert [(item["id"], item["text"]) for item in body["results"]] == [
        ("a", "7"), ("b", "1"), ("a", "7"),
    ]  # fmt: skip


def test_one_bad_image_of_a_request_does_not_affect_the_others(call, seven, one):
    images = [
        ("a", seven),
        ("text", b"not an image"),
        ("broken", "***"),
        ("cut", seven[:500]),
        ("b", one),
    ]
    status, body, _ = call(**as_json(*images))
    assert status == 200
    answers = [item.get("text") or item["error"]["code"] for item in body["results"]]
    assert answers == ["7", "unsupported_format", "bad_request", "unreadable_image", "1"]


def test_results_of_a_form_have_the_file_names_as_ids(call, seven, one):
    status, body, _ = call(**as_form(("my seven.png", seven), ("one.jpg", one)))
    assert status == 200
    assert {item["id"]: item["text"] for item in body["results"]} == {
        "my seven.png": "7", "one.jpg": "1",
    }  # fmt: skip


def test_explain_adds_the_frame(call, seven):
    assert "explanation" not in call(body=seven)[1]["digits"][0]
    explained = call(body=seven, query={"explain": "true"})[1]["digits"][0]
    assert set(explained["explanation"]) == {"frame"}
    assert base64.b64decode(explained["explanation"]["frame"]).startswith(b"\x89PNG")


def test_explain_full_adds_the_occlusion_map_and_the_feature_maps(call, seven):
    status, body, _ = call(body=seven, query={"explain": "full"})
    assert status == 200
    explanation = body["digits"][0]["explanation"]
    assert set(explanation) == {"frame", "occlusion", "feature_maps"}
    maps = explanation["feature_maps"]
    assert [layer["layer"] for layer in maps] == ["conv1", "conv2"]
    for data in (explanation["occlusion"], *(layer["png"] for layer in maps)):
        assert base64.b64decode(data).startswith(b"\x89PNG")
    Result.model_validate(body)


def test_explain_full_is_refused_for_several_images(call, seven, one):
    alone = call(**as_form(("a", seven)), query={"explain": "full"})[1]["results"][0]
    assert "occlusion" in alone["digits"][0]["explanation"]
    both = call(**as_form(("a", seven), ("b", one)), query={"explain": "full"})
    assert_problem(both, 400, "bad_request")
    assert "explain=true" in both[1]["detail"]
    assert call(**as_form(("a", seven), ("b", one)), query={"explain": "true"})[0] == 200


def test_an_invalid_explain_is_answered_with_the_valid_values(call, seven):
    answer = call(body=seven, query={"explain": "frame"})
    assert_problem(answer, 400, "bad_request")
    assert answer[1]["detail"] == "The query's 'explain' must be true, full or false."


@pytest.mark.parametrize(
    ("kwargs", "status", "code"),
    [
        ({"body": b""}, 400, "bad_request"),
        ({"body": None}, 400, "bad_request"),
        ({"body": b"{", "content_type": "application/json"}, 400, "bad_request"),
        ({"body": b'{"images": []}', "content_type": "application/json"}, 400, "bad_request"),
        ({"body": b"x", "query": {"multiple": "perhaps"}}, 400, "bad_request"),
        ({"body": b"x", "query": {"multiple": "full"}}, 400, "bad_request"),
        ({"body": b"x", "query": {"explain": ""}}, 400, "bad_request"),
        ({"body": b"x", "content_type": "multipart/form-data"}, 400, "bad_request"),
        ({"body": b"x", "content_type": "multipart/form-data; boundary=A"}, 400, "bad_request"),
        ({"body": b"x" * (4 * 1024 * 1024 + 1)}, 413, "too_large"),
        ({"body": b" " * (3500 * 1024 + 1), "content_type": "application/json"}, 413, "too_large"),
        ({"body": b"just a text"}, 415, "unsupported_format"),
        ({"body": b"<a/>", "content_type": "text/xml"}, 415, "unsupported_format"),
        ({"body": b"\x89PNG\r\n\x1a\n cut off"}, 422, "unreadable_image"),
    ],
)
def test_an_invalid_request_is_a_problem_with_a_stable_code(call, kwargs, status, code):
    assert_problem(call(**kwargs), status, code)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json;charset=UTF-8", 200),
        ('APPLICATION/JSON; charset="utf-8"', 200),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin-1", 415),
        ("application/jsonp", 415),
    ],
)
def test_only_utf_8_json_is_accepted(call, seven, content_type, status):
    sent = as_json(("a", seven)) | {"content_type": content_type}
    assert call(**sent)[0] == status


@pytest.mark.parametrize("name", ["content-type", "CONTENT-TYPE", "Content-type"])
def test_header_names_are_case_insensitive(http_api, context, seven, name):
    sent = as_json(("a", seven))
    event = gateway.event(
        "POST", "/classify", headers={name: sent["content_type"]}, body=sent["body"]
    )
    assert "results" in json.loads(http_api.handler(event, context)["body"])


def test_json_that_arrives_as_text_is_read(http_api, context, seven):
    sent = as_json(("ä", seven))
    event = gateway.event(
        *("POST", "/classify"),
        headers={"Content-Type": sent["content_type"]},
        body=sent["body"],
        as_base64=False,
    )
    (item,) = json.loads(http_api.handler(event, context)["body"])["results"]
    assert (item["id"], item["text"]) == ("ä", "7")


def test_a_request_without_headers_is_read_as_one_raw_image(http_api, context, seven):
    event = request(body=seven) | {"headers": None, "multiValueHeaders": None}
    assert json.loads(http_api.handler(event, context)["body"])["text"] == "7"


def test_a_query_parameter_with_two_values_is_refused(call, seven):
    answer = call(body=seven, query={"multiple": ["true", "false"]})
    assert_problem(answer, 400, "bad_request")


def test_an_image_given_by_url_is_refused(call):
    body = json.dumps({"images": [{"id": "a", "url": "http://169.254.169.254/"}]}).encode()
    assert_problem(call(body=body, content_type="application/json"), 400, "bad_request")


def test_a_body_over_the_limit_is_refused_without_decoding_it(http_api, context):
    event = request(body=b"x") | {"body": "*" * (6 * 1024 * 1024)}  # not base64
    assert http_api.handler(event, context)["statusCode"] == 413


@pytest.mark.parametrize("size", [0, 1024 * 1024])
def test_invalid_base64_is_refused_in_bodies_of_any_size(http_api, context, seven, size):
    event = request(body=seven + bytes(size))
    assert json.loads(http_api.handler(event, context)["body"])["text"] == "7"
    for broken in (event["body"][:-3], "ü" + event["body"][1:], event["body"][:-4] + "a b="):
        response = http_api.handler(event | {"body": broken}, context)
        assert response["statusCode"] == 400
        assert "not valid base64" in response["body"]


def test_more_than_32_images_are_refused(call):
    assert_problem(call(**as_json(*[("a", b"x")] * 33)), 400, "bad_request")
    assert_problem(call(**as_form(*[("a", b"x")] * 33)), 400, "bad_request")


def test_an_unknown_path_is_answered_with_404(call):
    assert_problem(call("GET", "/nothing"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/classify", "OPTIONS, POST"),
        ("HEAD", "/uploads", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/labels/uploads/a", "GET, HEAD, OPTIONS"),
        ("TRACE", "/feedback", "OPTIONS, POST"),
    ],
)
def test_a_wrong_method_is_answered_with_405_and_the_allowed_methods(
    http_api, context, method, path, allow
):
    response = http_api.handler(request(method, path), context)
    assert response["statusCode"] == 405
    assert response["multiValueHeaders"]["Allow"] == [allow]
    if method != "HEAD":
        assert json.loads(response["body"])["code"] == "method_not_allowed"


def test_the_allowed_methods_are_those_of_the_openapi_description(http_api, context):
    """The gateway passes every method to the function."""
    for path, described in document()["paths"].items():
        response = http_api.handler(request("TRACE", path.replace("{key}", "uploads/a")), context)
        (allow,) = response["multiValueHeaders"]["Allow"]
        wanted = {method.upper() for method in described} | {"OPTIONS"}
        assert set(allow.split(", ")) == wanted | ({"HEAD"} if "get" in described else set())


def test_options_returns_the_allowed_methods(http_api, context):
    response = http_api.handler(request("OPTIONS", "/model"), context)
    assert response["statusCode"] == 204
    assert response["multiValueHeaders"]["Allow"] == ["GET, HEAD, OPTIONS"]


@pytest.mark.parametrize("path", ["/model", "/health", "/openapi.json", "/docs"])
def test_head_returns_the_headers_of_get_without_a_body(http_api, context, path):
    head, get = (http_api.handler(request(it, path), context) for it in ("HEAD", "GET"))
    assert head == {**get, "body": ""}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health", 200), ("GET", "/nothing", 404), ("POST", "/classify", 400),
     ("GET", "/classify", 405), ("OPTIONS", "/classify", 204), ("GET", "/docs", 200),
     ("POST", "/docs", 405)],
)  # fmt: skip
def test_every_answer_has_the_security_headers(http_api, context, method, path, status):
    response = http_api.handler(request(method, path), context)
    headers = {name: value for name, (value,) in response["multiValueHeaders"].items()}
    assert response["statusCode"] == status
    assert headers["X-Content-Type-Options"] == "nosniff"
    cacheable = (method, path) == ("GET", "/docs")
    assert headers["Cache-Control"] == ("public, max-age=3600" if cacheable else "no-store")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_docs_and_openapi_are_cacheable_for_an_hour(http_api, context, path):
    response = http_api.handler(request("GET", path), context)
    assert response["statusCode"] == 200
    assert response["multiValueHeaders"]["Cache-Control"] == ["public, max-age=3600"]


def test_without_the_setting_no_digit_metric_is_emitted(call, seven, capsys, monkeypatch):
    """Ten metrics of a function cost three dollars a month."""
    monkeypatch.setattr(
        "lambda_predict.observability.settings", lambda: Settings(digit_metrics=False)
    )
    assert call(body=seven)[0] == 200
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    counts = json.loads(line)
    assert counts["Images"] == [1]
    assert not [name for name in counts if name.startswith("Digit")]


def test_the_docs_page_allows_only_its_own_scripts(http_api, context):
    response = http_api.handler(request("GET", "/docs"), context)
    (policy,) = response["multiValueHeaders"]["Content-Security-Policy"]
    scripts = re.findall("<script>(.*?)</script>", response["body"], re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    (script_rule,) = [rule for rule in policy.split(";") if "script-src" in rule]
    assert "unsafe" not in script_rule


def test_a_blank_image_is_answered_with_the_reason_blank(call):
    buffer = io.BytesIO()
    Image.new("L", (100, 100), 240).save(buffer, "PNG")
    status, body, _ = call(body=buffer.getvalue())
    assert (status, body["text"], body["needs_review"], body["reason"]) == (
        200, None, True, "blank",
    )  # fmt: skip


def test_model_and_health_describe_the_promoted_model(call):
    pointer = publish_shipped()
    status, manifest, _ = call("GET", "/model")
    assert (status, manifest["version"], manifest["schema"]) == (200, pointer.version, 2)
    assert call("GET", "/health")[:2] == (200, {"status": "ok", "model": pointer.version})


def test_openapi_is_served_and_the_docs_page_loads_nothing_external(call, http_api, context):
    status, schema, _ = call("GET", "/openapi.json")
    assert (status, schema["openapi"]) == (200, "3.1.0")
    page = http_api.handler(request("GET", "/docs"), context)
    assert page["statusCode"] == 200
    assert "swagger-ui" in page["body"]
    assert not re.search(r"""<(script|link)[^>]+(src|href)=['"]https?:""", page["body"])


def test_a_model_that_cannot_be_fetched_is_answered_with_503(environment, context, seven, s3):
    environment.setenv("DIGITS_MODELS", "s3://no-such-bucket")
    module = fresh("http_api")
    response = module.handler(request(body=seven), context)
    body = json.loads(response["body"])
    assert (response["statusCode"], body["code"]) == (503, "model_unavailable")


def test_an_unexpected_error_reveals_only_the_request_id(http_api, context, seven):
    http_api.models = None
    response = http_api.handler(request(body=seven), context)
    body = json.loads(response["body"])
    assert (response["statusCode"], body["code"]) == (500, "internal_error")
    assert "NoneType" not in response["body"]


def test_cross_origin_answers_carry_the_allowed_origin(environment, context, seven):
    environment.setenv("DIGITS_CORS_ORIGIN", "https://example.org")
    module = fresh("http_api")
    event = request(body=seven)
    event["headers"]["Origin"] = "https://example.org"
    event["multiValueHeaders"]["Origin"] = ["https://example.org"]
    headers = module.handler(event, context)["multiValueHeaders"]
    assert headers["Access-Control-Allow-Origin"] == ["https://example.org"]


def test_logs_contain_the_request_id_and_the_result_but_no_image(call, seven, http_api, caplog):
    call(body=seven)
    formatter = http_api.logger.registered_formatter
    lines = [json.loads(formatter.format(record)) for record in caplog.records]
    (line,) = [line for line in lines if line["message"] == "Read an image"]
    assert (line["text"], line["correlation_id"]) == ("7", "gateway-request-1")
    assert all(len(json.dumps(line)) < 2000 for line in lines)


def test_each_image_and_each_error_is_counted(call, seven, http_api, capsys):
    call(**as_json(("a", seven), ("b", b"a text")))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    (by_code,) = [line for line in lines if "code" in line]
    assert (by_code["code"], by_code["Errors"]) == ("unsupported_format", [1.0])
    assert by_code["service"] == http_api.metrics.service
    (counts,) = [line for line in lines if "code" not in line]
    assert (counts["Images"], counts["Errors"], counts["NeedsReview"]) == ([1, 1], [1], [0])
    assert counts["Digit7"] == [1]
    assert not [name for name in counts if name.startswith("Digit") and name != "Digit7"]
    assert counts["Confidence"][0] > 0.9
    assert len(counts["DecodeTime"]) == len(counts["InferenceTime"]) == 1
    assert all(age > 0 for age in counts["ModelAge"])


def test_a_blank_image_is_counted_for_review_but_not_as_a_digit(call, capsys):
    blank = io.BytesIO()
    Image.new("L", (64, 64), 255).save(blank, "PNG")
    call(body=blank.getvalue())
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    counts = json.loads(line)
    assert counts["NeedsReview"] == [1]
    assert not [name for name in counts if name.startswith(("Digit", "Confidence"))]


TYPES = [
    *("", "image/png", "application/json", "application/json; charset=utf-8", "text/plain"),
    *("multipart/form-data", "multipart/form-data; boundary=XX"),
]
CALLS = [
    *("/classify", "/uploads", "/feedback", "/model", "/health", "/openapi.json", "/nothing"),
    "/labels/uploads/2026-11-26/aaaaaaaaaaaaaaaaaaaaaa/a.png",
]
VALUES = st.text(max_size=20) | st.none() | st.integers() | st.lists(st.none(), max_size=2)
FIELDS = st.sampled_from(
    ["name", "size", "mode", "truth", "image", "key", "model", "images", "url"]
)
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=300),
    st.text(max_size=100).map(str.encode),
    st.dictionaries(FIELDS, VALUES).map(lambda it: json.dumps(it).encode()),
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "X"]),
    path=st.sampled_from(CALLS) | st.text(max_size=30).map("/labels/{}".format),
    body=BODIES,
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "content-type", "Origin", "Accept", "Cookie"]),
        st.sampled_from(TYPES) | st.text(max_size=30),
    ),
    query=st.none()
    | st.dictionaries(
        st.sampled_from(["multiple", "explain", "x"]),
        st.lists(st.text(max_size=5) | st.just("full"), min_size=1, max_size=2),
    ),
    as_base64=st.booleans(),
)
def test_no_request_is_answered_with_a_server_error(
    http_api, context, method, path, body, headers, query, as_base64
):
    event = gateway.event(
        method, path, headers=headers, query=query, body=body, as_base64=as_base64
    )
    assert http_api.handler(event, context)["statusCode"] < 500


@given(text=st.text(max_size=50))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_base64_body_is_answered_with_a_server_error(http_api, context, text):
    event = request() | {"body": text, "isBase64Encoded": True}
    assert http_api.handler(event, context)["statusCode"] < 500


@pytest.mark.parametrize(
    ("filename", "says"),
    [(b'; filename="b"', "at most 32"), (b"", "more than 32 fields that are not files")],
)
def test_a_form_of_too_many_parts_is_refused_early(http_api, context, filename, says, monkeypatch):
    """Of about 60,000 parts only the first 33 are parsed."""
    multipart = importlib.import_module("lambda_predict.multipart")
    parsed = []

    class Counted(multipart.Part):
        def __init__(self):
            super().__init__()
            parsed.append(self)

    monkeypatch.setattr(multipart, "Part", Counted)
    part = b'--XX\r\nContent-Disposition: form-data; name="a"%s\r\n\r\nx\r\n' % filename
    body = part * (4 * 1024 * 1024 // len(part) - 1) + b"--XX--\r\n"
    event = request(body=body, content_type="multipart/form-data; boundary=XX")
    response = http_api.handler(event, context)
    assert response["statusCode"] == 400
    assert says in response["body"]
    assert 33 <= len(parsed) < 40


def test_importing_the_api_imports_neither_boto3_nor_pybase64():
    script = (
        "import sys, lambda_predict.http_api; print(bool({'boto3', 'pybase64'} & set(sys.modules)))"
    )
    environment = {name: it for name, it in os.environ.items() if not name.startswith("DIGITS_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]


def test_the_served_openapi_is_generated_from_the_schemas(call):
    assert call("GET", "/openapi.json")[1] == document()
