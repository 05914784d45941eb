"""A container engine for these tests; without one they are skipped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from infra.local.cloud import ROOT
from infra.local.engine import Engine, NoEngine, running
from tests.conftest import skip_or_fail

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def say(request):
    """Return a function that prints a line without capture, because these tests take minutes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"\n{text}\n")
            sys.stdout.flush()

    return line


@pytest.fixture(scope="session")
def engine(say) -> Iterator[Engine]:
    # Handle SIGTERM like Ctrl-C, so that fixtures are torn down and the engine stops.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            made = stack.enter_context(running(say))
            made.debian(say)
        except NoEngine as reason:
            skip_or_fail(str(reason))
        yield made
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def base_image(engine, say) -> str:
    return engine.debian(say)


@pytest.fixture(scope="session")
def image(engine, base_image, say) -> str:
    """Build the image of the training job and return its tag."""
    say("Building the training image (two minutes)")
    return engine.build(
        ROOT / "training_job/Dockerfile",
        ROOT,
        "digits-training:test",
        BASE_IMAGE=base_image,
        DIGITS_GIT_COMMIT=COMMIT,
    )
