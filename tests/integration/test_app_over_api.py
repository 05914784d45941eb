"""The app with the HTTP API as its engine: the real handler behind a real socket."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from digits.errors import TooLarge, UnreadableImage, UnsupportedFormat
from streamlit_app.api import Api, Away
from streamlit_app.samples import SAMPLES
from tests import gateway
from tests.served import free_port

APP = Path(__file__).parents[2] / "streamlit_app/app.py"
NUMBER = SAMPLES[3]

Answer = tuple[int, bytes]
Answering = Callable[[str, dict[str, str], bytes], Answer]


@contextmanager
def serving(answering: Answering) -> Iterator[str]:
    """Serve POSTs by `answering(path, headers, body)`; yields the address."""

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
            """Say nothing."""

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
    """The address of the real HTTP function."""
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


def test_both_engines_say_the_same(deployed, monkeypatch):
    app = opened(monkeypatch, deployed)
    next(button for button in app.button if button.label == NUMBER.label).click().run()
    app.toggle[0].set_value(True).run()
    embedded = cards(app)

    through_api = cards(by_api(app))

    assert len(embedded) == 2
    assert through_api == embedded
    told = "".join(element.proto.body for element in app.get("html"))
    assert f"sent to {urlsplit(deployed).netloc}" in told


def test_a_bad_file_gets_the_apis_words(deployed, monkeypatch):
    app = by_api(opened(monkeypatch, deployed))
    app.segmented_control(key="way").set_value("upload").run()

    app.file_uploader[0].set_value([("letter.png", b"Dear Sir", "image/png")]).run()

    (card,) = cards(app)
    assert "convert it to PNG" in card


def test_an_api_that_is_away_is_only_replaced_when_the_user_agrees(monkeypatch):
    app = by_api(opened(monkeypatch, f"http://127.0.0.1:{free_port()}/v1"))
    assert "cannot be reached" in app.error[0].value
    assert cards(app) == []

    app.run()
    assert app.error
    assert cards(app) == []

    next(button for button in app.button if button.label == "Read in this app instead").click()
    assert "read as 7" in cards(app.run())[0]
    assert not app.error


def test_without_an_address_there_is_no_switch(monkeypatch):
    monkeypatch.delenv("DIGITS_API_URL", raising=False)
    app = AppTest.from_file(APP, default_timeout=60).run()

    assert [control.key for control in app.segmented_control] == ["way"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(413, TooLarge), (415, UnsupportedFormat), (422, UnreadableImage)],
)
def test_what_is_the_pictures_fault_is_not_the_apis(status, error):
    detail = b'{"detail": "Smaller, please."}'
    with always(status, detail) as api, pytest.raises(error, match=r"Smaller, please\."):
        api.classify(b"picture", explain="frame")


@pytest.mark.parametrize(
    ("status", "words"),
    [(302, "302"), (403, "key"), (429, "quota"), (502, "502"), (200, "does not know")],
)
def test_an_answer_that_is_none_is_said_to_be_the_apis_fault(status, words):
    with always(status) as api, pytest.raises(Away, match=words):
        api.classify(b"picture", explain="frame")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "http://[", "nonsense"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(Away):
        Api(url, "").classify(b"picture", explain="frame")


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

        app.checkbox[0].check().run()
        next(button for button in app.button if button.label == "Send it").click().run()

    assert not app.exception
    assert "c-17" in app.success[0].value
    assert received == [
        (
            "/v1/feedback",
            {
                "truth": "1",
                "image": base64.b64encode(SAMPLES[0].data).decode(),
                "model": result.model.version,
                "answer": "7",
            },
        )
    ]
