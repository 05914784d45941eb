"""Both functions as they are packaged, under Lambda's runtime interface emulator.

The artifact is built for this machine's CPU and Python; see `infra.local.emulator`.
"""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from digits.labels.label import label_key
from digits.registry import bundle
from infra.local.cloud import LocalCloud, tool
from infra.local.emulator import Emulator
from infra.local.processes import Failed, Processes
from tests.conftest import GOLDEN, require, skip_or_fail
from tests.integration.test_http_api import request as gateway_event
from tests.integration.test_s3_labels import batch, s3_event
from tests.served import free_port
from tests.unit.test_artifact import make

SEVEN = (GOLDEN / "seven.png").read_bytes()

Invoke = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("artifact")
    done = make(
        "build-HttpApiFunction",
        ARTIFACTS_DIR=folder,
        DIGITS_BUILD_ARCHITECTURE="host",
        DIGITS_BUILD_PYTHON=f"{sys.version_info.major}.{sys.version_info.minor}",
    )
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="module")
def cloud(processes, tmp_path_factory) -> LocalCloud:
    require(str(tool(".venvs/local-cloud", "ministack")))
    cloud = LocalCloud(free_port())
    cloud.start(processes, tmp_path_factory.mktemp("state"))
    return cloud


@pytest.fixture(scope="module")
def start(artifact, processes, tmp_path_factory) -> Callable[..., Invoke]:
    """Return a function that starts a handler under the emulator and returns its `invoke`."""
    try:
        emulator = Emulator(tmp_path_factory.mktemp("runtime"))
    except Failed as error:
        skip_or_fail(str(error))

    def start_function(name: str, env: dict[str, str]) -> Invoke:
        handler = f"lambda_predict.{name}.handler"
        return emulator.start(processes, name, handler, [artifact], env).invoke

    return start_function


def test_the_api_function_answers_from_the_artifact_alone(start):
    invoke = start("http_api", {"DIGITS_MODELS": ""})
    for _ in range(2):  # the first starts the function, the second finds it warm
        answer = invoke(gateway_event(body=SEVEN, content_type="image/png"))
        assert answer["statusCode"] == 200, answer
        assert json.loads(answer["body"])["text"] == "7"
    health = json.loads(invoke(gateway_event("GET", "/health"))["body"])
    assert health["model"] == bundle.load().manifest.version
    docs = invoke(gateway_event("GET", "/docs"))
    assert docs["statusCode"] == 200
    refused = invoke(gateway_event(body=b"not an image"))
    assert json.loads(refused["body"])["code"] == "unsupported_format"


def test_the_labels_function_labels_the_images_of_its_messages(start, cloud):
    s3 = cloud.s3()
    for bucket in ("test-images", "test-labels", "test-models"):
        s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket="test-images", Key="a b.png", Body=SEVEN)
    invoke = start(
        "s3_labels",
        {
            "DIGITS_MODELS": "s3://test-models",
            "DIGITS_LABELS_BUCKET": "test-labels",
            "AWS_ENDPOINT_URL": cloud.endpoint,
        },
    )
    answer = invoke(batch(s3_event("a b.png"), s3_event("gone.png"), "not an event of S3"))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-2"}]}
    label = json.loads(s3.get_object(Bucket="test-labels", Key=label_key("a b.png"))["Body"].read())
    assert (label["text"], label["source"]["key"]) == ("7", "a b.png")


def test_a_function_with_an_invalid_setting_fails_and_names_it(start):
    invoke = start("s3_labels", {"DIGITS_LABEL_MODE": "both", "DIGITS_MODELS": ""})
    with pytest.raises(urllib.error.HTTPError) as caught:
        invoke(batch())
    answer = json.loads(caught.value.read())
    assert answer["errorType"] == "ValidationError"
    assert "label_mode" in answer["errorMessage"]
