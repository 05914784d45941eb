"""Fixtures that every kind of test shares."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from digits import Classifier, formats
from digits.registry import bundle
from tests.bundles import NEW, OLD, make_bundle

GOLDEN = Path(__file__).parent / "golden"

# A shell's background jobs ignore SIGINT, and processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test may reach a real account.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def truths() -> dict[str, int]:
    """Return the digit of each golden picture, by file name."""
    with (GOLDEN / "labels.csv").open(newline="") as stream:
        return {row["file"]: int(row["truth"]) for row in csv.DictReader(stream)}


def require(tool: str) -> None:
    """Skip the test if a program or file is missing."""
    if not (shutil.which(tool) or Path(tool).exists()):
        skip_or_fail(f"{tool} is not installed")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test with this reason; fail it if ``DIGITS_REQUIRE_ALL`` is set."""
    if os.environ.get("DIGITS_REQUIRE_ALL"):
        pytest.fail(reason)
    pytest.skip(reason=reason)


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier(bundle.load())


@pytest.fixture
def seven() -> bytes:
    return (GOLDEN / "seven.png").read_bytes()


@pytest.fixture
def one() -> bytes:
    return (GOLDEN / "one.jpg").read_bytes()


@pytest.fixture
def decoders() -> Iterator[None]:
    """Clear the cache of available decoders before and after the test."""
    formats._opener.cache_clear()
    yield
    formats._opener.cache_clear()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "new", NEW)
