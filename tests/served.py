"""A client that calls a served API without pause while its model changes."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request

from tests.conftest import GOLDEN

REFRESH_SECONDS = 60  # a function may serve a replaced model for so long


def free_port(host: str = "127.0.0.1") -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Hammer:
    """Posts a picture repeatedly; records the statuses, and the sequence of model versions."""

    def __init__(self, url: str, key: str) -> None:
        picture = (GOLDEN / "seven.png").read_bytes()
        headers = {"x-api-key": key, "Content-Type": "image/png"}
        self._request = urllib.request.Request(url, picture, headers)
        self._thread = threading.Thread(target=self._run)
        self._over = threading.Event()
        self.statuses: set[int] = set()
        self.versions: list[str] = []

    def __enter__(self) -> Hammer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def until(self, version: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while version not in self.versions and time.monotonic() < deadline:
            time.sleep(0.2)

    def _run(self) -> None:
        while not self._over.wait(0.1):
            try:
                with urllib.request.urlopen(self._request, timeout=30) as answer:
                    self.statuses.add(answer.status)
                    version = json.loads(answer.read())["model"]["version"]
            except urllib.error.HTTPError as error:
                self.statuses.add(error.code)
                continue
            if version not in self.versions[-1:]:
                self.versions.append(version)


def health(url: str) -> str:
    """Return the version of the model that the API serves."""
    with urllib.request.urlopen(url + "/health", timeout=30) as answer:
        version: str = json.loads(answer.read())["model"]
    return version
