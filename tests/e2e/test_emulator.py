"""Both functions as they are zipped, under Lambda's own runtime interface emulator.

The emulator comes with SAM's command line; the artifact is built for this machine's CPU and Python.
What the real runtime does and a plain call of the handler does not: it imports the module in an
empty process, hands over events as bytes, refuses answers that are no JSON, and keeps the process.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from digits import bundle
from digits.labels import label_key
from infra.local.cloud import CPU, ROOT, LocalCloud, tool
from infra.local.processes import Processes, answers
from tests.conftest import GOLDEN, require
from tests.integration.test_http_api import request as gateway_event
from tests.integration.test_s3_labels import batch, s3_event
from tests.served import free_port
from tests.unit.test_artifact import make

RAPID = ROOT / ".venvs/sam/lib"
SEVEN = (GOLDEN / "seven.png").read_bytes()

Invoke = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def emulator() -> Path:
    found = list(RAPID.glob(f"python*/site-packages/samcli/local/rapid/aws-lambda-rie-{CPU}"))
    require(str(found[0] if found else RAPID / "aws-lambda-rie"))
    return found[0]


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
def start(emulator, artifact, processes) -> Callable[..., Invoke]:
    """Start a function under the emulator, and give what invokes it."""

    def start_function(handler: str, env: dict[str, str]) -> Invoke:
        port, runtime_port = free_port(), free_port()
        processes.start(
            handler,
            [
                str(emulator), "--log-level", "error",
                "--runtime-interface-emulator-address", f"127.0.0.1:{port}",
                "--runtime-api-address", f"127.0.0.1:{runtime_port}",
                sys.executable, "-m", "awslambdaric", f"lambda_predict.{handler}.handler",
            ],
            env={
                "PATH": os.environ["PATH"],
                # Lambda runs a function in its folder; its runtime's client comes from here.
                "PYTHONPATH": str(artifact),
                "LAMBDA_TASK_ROOT": str(artifact),
                "AWS_LAMBDA_FUNCTION_NAME": handler,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "POWERTOOLS_METRICS_NAMESPACE": "Digits",
                "POWERTOOLS_SERVICE_NAME": handler,
                **env,
            },
            is_up=lambda: answers(port),
            within=30,
        )  # fmt: skip

        def invoke(event: dict[str, Any]) -> Any:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations",
                json.dumps(event).encode(),
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())

        return invoke

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
    refused = invoke(gateway_event(body=b"no picture"))
    assert json.loads(refused["body"])["code"] == "unsupported_format"


def test_the_labels_function_labels_what_the_queue_names(start, cloud):
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
    answer = invoke(batch(s3_event("a b.png"), s3_event("gone.png"), "no event of S3"))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-2"}]}
    label = json.loads(s3.get_object(Bucket="test-labels", Key=label_key("a b.png"))["Body"].read())
    assert (label["text"], label["source"]["key"]) == ("7", "a b.png")


def test_a_function_whose_settings_are_wrong_says_which(start):
    invoke = start("s3_labels", {"DIGITS_LABEL_MODE": "both", "DIGITS_MODELS": ""})
    with pytest.raises(urllib.error.HTTPError) as caught:
        invoke(batch())
    answer = json.loads(caught.value.read())
    assert answer["errorType"] == "ValidationError"
    assert "label_mode" in answer["errorMessage"]
