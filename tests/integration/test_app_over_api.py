"""The app with the HTTP API as its engine: the real handler behind a real socket."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from digits.errors import TooLarge, UnreadableImage, UnsupportedFormat
from lambda_predict.http_request import MAX_RAW_BYTES
from streamlit_app import correction, table
from streamlit_app.api import MOST_POSTED, Api, Away
from streamlit_app.samples import SAMPLES
from tests import gateway
from tests.integration.conftest import IMAGES
from tests.integration.test_s3_labels import batch, s3_event
from tests.served import free_port

APP = Path(__file__).parents[2] / "streamlit_app/app.py"
NUMBER = SAMPLES[3]

Answer = tuple[int, bytes]
Answering = Callable[[str, dict[str, str], bytes], Answer]


@contextmanager
def serving(answering: Answering) -> Iterator[str]:
    """Serve POSTs with `answering(path, headers, body)`; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = answering(
                self.path, {k.lower(): v for k, v in self.headers.items()}, body
            )
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Do not log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def deployed(http_api, context) -> Iterator[str]:
    """Serve the real HTTP function and yield its address."""
    with gateway.serve(http_api.handler, context) as url:
        yield url


@contextmanager
def always(status: int, body: bytes = b"{}") -> Iterator[Api]:
    with serving(lambda *_: (status, body)) as url:
        yield Api(url, "the key")


def opened(monkeypatch: pytest.MonkeyPatch, url: str) -> AppTest:
    monkeypatch.setenv("DIGITS_API_URL", url)
    monkeypatch.setenv("DIGITS_API_KEY", gateway.KEY)
    return AppTest.from_file(APP, default_timeout=60).run()


def by_api(app: AppTest) -> AppTest:
    return app.segmented_control(key="engine").set_value("api").run()


def cards(app: AppTest) -> list[str]:
    assert not app.exception
    bodies = [element.proto.body for element in app.get("html")]
    return [body for body in bodies if body.startswith(("<article", "<section"))]


def test_the_app_shows_the_same_answer_from_both_engines(deployed, monkeypatch):
    app = opened(monkeypatch, deployed)
    next(button for button in app.button if button.label == NUMBER.label).click().run()
    app.toggle[0].set_value(True).run()
    embedded = cards(app)

    through_api = cards(by_api(app))

    assert len(embedded) == 2
    assert through_api == embedded
    page = "".join(element.proto.body for element in app.get("html"))
    assert f"sent to {urlsplit(deployed).netloc}" in page


@pytest.fixture
def with_storage(http_api, s3_labels, s3, context, monkeypatch):
    """Yield a client of the functions, and the PUTs to a storage that drops its first answer."""
    monkeypatch.setattr("streamlit_app.api._PAUSE_SECONDS", 0.01)
    puts: list[tuple[int, bool]] = []

    class Storage(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            key = urlsplit(self.path).path[1:]
            is_new = self.headers["If-None-Match"] == "*" and not s3.list_objects_v2(
                Bucket=IMAGES, Prefix=key
            ).get("Contents")
            puts.append((len(body), is_new))
            if is_new:
                metadata = {"digits-mode": self.headers["x-amz-meta-digits-mode"]}
                s3.put_object(Bucket=IMAGES, Key=key, Body=body, Metadata=metadata)
                s3_labels.handler(batch(s3_event(key)), context)
                self.close_connection = True
                return
            self.send_response(412)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Do not log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Storage) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()

        def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
            answer: dict[str, Any] = http_api.handler(event, context)
            near = f"http://127.0.0.1:{server.server_port}"
            answer["body"] = answer["body"].replace(f"https://{IMAGES}.s3.amazonaws.com", near)
            return answer

        with gateway.serve(handler, context) as url:
            yield Api(url, gateway.KEY), puts
        server.shutdown()


def test_a_picture_over_the_gateways_limit_is_uploaded_once_even_if_the_answer_is_lost(
    with_storage, classifier
):
    service, puts = with_storage
    large = NUMBER.data + bytes(MOST_POSTED)

    result = service.classify(large, explain="frame")

    assert result == classifier.classify(large, mode="multiple")
    assert puts == [(len(large), True), (len(large), False)]


def test_an_upload_that_is_not_an_image_raises_the_error_of_the_image(with_storage):
    with pytest.raises(UnsupportedFormat):
        with_storage[0].classify(b"not an image" + bytes(MOST_POSTED), explain=None)
    with pytest.raises(TooLarge):
        with_storage[0].classify(bytes(20 * 1024**2 + 1), explain=None)


def test_the_app_posts_images_up_to_the_functions_size_limit():
    assert MOST_POSTED == MAX_RAW_BYTES


def test_the_app_shows_the_apis_error_for_a_bad_file(deployed, monkeypatch):
    app = by_api(opened(monkeypatch, deployed))
    app.segmented_control(key="way").set_value("upload").run()

    app.file_uploader[0].set_value([("letter.png", b"Dear Sir", "image/png")]).run()

    (card,) = cards(app)
    assert "convert it to PNG" in card


def test_an_unreachable_api_is_replaced_by_the_app_only_on_request(monkeypatch):
    app = by_api(opened(monkeypatch, f"http://127.0.0.1:{free_port()}/v1"))
    assert "cannot be reached" in app.error[0].value
    assert cards(app) == []

    app.run()
    assert app.error
    assert cards(app) == []

    next(button for button in app.button if button.label == "Read in this app instead").click()
    assert "read as 7" in cards(app.run())[0]
    assert not app.error


def test_without_an_api_address_the_app_offers_no_engine_choice(monkeypatch):
    monkeypatch.delenv("DIGITS_API_URL", raising=False)
    app = AppTest.from_file(APP, default_timeout=60).run()

    assert [control.key for control in app.segmented_control] == ["way"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(413, TooLarge), (415, UnsupportedFormat), (422, UnreadableImage)],
)
def test_a_status_about_the_image_raises_the_error_of_the_image(status, error):
    detail = b'{"detail": "Smaller, please."}'
    with always(status, detail) as api, pytest.raises(error, match=r"Smaller, please\."):
        api.classify(b"picture", explain="frame")


@pytest.mark.parametrize(
    ("status", "words"),
    [(302, "302"), (403, "key"), (429, "quota"), (502, "502"), (200, "does not know")],
)
def test_an_unusable_answer_is_reported_as_a_failure_of_the_api(status, words):
    with always(status) as api, pytest.raises(Away, match=words):
        api.classify(b"picture", explain="frame")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "http://[", "nonsense"])
def test_an_invalid_api_address_is_refused(url):
    with pytest.raises(Away):
        Api(url, "").classify(b"picture", explain="frame")


def test_a_picture_is_sent_without_metadata_and_gives_the_same_frames(classifier):
    exif = Image.Exif()
    exif[0x010F] = "A camera of mine"
    photo = io.BytesIO()
    Image.open(io.BytesIO(NUMBER.data)).save(photo, "JPEG", exif=exif)

    sent = correction.grey(photo.getvalue())

    assert b"A camera of mine" in photo.getvalue()
    assert b"A camera of mine" not in sent
    read, again = (
        classifier.classify(data, mode="multiple", explain="frame")
        for data in (photo.getvalue(), sent)
    )
    assert [d.explanation for d in again.digits] == [d.explanation for d in read.digits]


def test_only_wrong_digits_of_corrected_rows_are_sent_once_and_with_consent(
    classifier, monkeypatch
):
    result = classifier.classify(NUMBER.data, mode="multiple", explain="frame")
    received = []

    def answering(path: str, _: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/v1/classify"):
            return 200, result.model_dump_json().encode()
        received.append(json.loads(body))
        return (503, b"{}") if len(received) == 2 else (202, b'{"id": "c-17"}')

    with serving(answering) as url:
        app = by_api(opened(monkeypatch, url)).switch_page("views/batch.py").run()
        app.file_uploader[0].set_value([("year.jpg", NUMBER.data, "image/jpeg")]).run()
        rows = app.session_state.rows
        rows[0] = table.corrected(rows[0], "7993")
        app.run()
        assert button(app, "Send them").disabled
        app.checkbox[0].check().run()
        button(app, "Send them").click().run()
        assert "Not all of them were sent" in app.error[0].value
        app.checkbox[0].check().run()
        button(app, "Send them").click().run()

    assert not app.exception
    assert "2 digits arrived" in app.success[0].value
    corrections = [(sent["answer"], sent["truth"]) for sent in received]
    assert corrections == [
        ("1", "7"),
        ("8", "3"),
        ("8", "3"),
    ]  # the second failed at first and was sent again
    assert [sent["image"] for sent in received[:2]] == [
        result.digits[at].explanation.frame for at in (0, 3)
    ]


def button(app: AppTest, label: str) -> Any:
    return next(button for button in app.button if button.label == label)


def test_a_correction_is_sent_only_with_consent(classifier, monkeypatch):
    result = classifier.classify(SAMPLES[0].data, mode="multiple", explain="frame")
    received = []

    def answering(path: str, _: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/v1/classify"):
            return 200, result.model_dump_json().encode()
        received.append((path, json.loads(body)))
        return 202, b'{"id": "c-17"}'

    with serving(answering) as url:
        app = by_api(opened(monkeypatch, url))
        app.text_input[0].set_value("1").run()
        send = next(button for button in app.button if button.label == "Send it")
        assert send.disabled

        next(box for box in app.checkbox if box.label.startswith("I agree")).check().run()
        next(button for button in app.button if button.label == "Send it").click().run()

    assert not app.exception
    assert "c-17" in app.success[0].value
    assert received == [
        (
            "/v1/feedback",
            {
                "truth": "1",
                "image": base64.b64encode(correction.grey(SAMPLES[0].data)).decode(),
                "model": result.model.version,
                "answer": "7",
            },
        )
    ]
