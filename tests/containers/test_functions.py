"""Both functions as `sam build` packages them for AWS, run by `sam local` in a container."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from digits.registry import bundle
from infra.local.cloud import CPU, ROOT, tool
from infra.local.processes import Processes, answers
from tests.conftest import GOLDEN, require
from tests.served import free_port

pytestmark = pytest.mark.container

SAM = tool(".venvs/sam", "sam")
# Without a models bucket, the functions serve the bundled model.
SETTINGS = {"Parameters": {"DIGITS_MODELS": "", "DIGITS_LABELS_BUCKET": "labels"}}


@pytest.fixture(scope="module")
def environment(engine) -> dict[str, str]:
    return engine.env | {
        "SAM_CLI_TELEMETRY": "0",
        "DIGITS_BUILD_ARCHITECTURE": CPU,
        "UV": str(tool(".venvs/uv", "uv")),
    }


@pytest.fixture(scope="module")
def options(engine, base_image, environment, tmp_path_factory) -> list[str]:
    """Build the functions and return the options of `sam local`: template, image and settings."""
    require(str(SAM))
    folder = tmp_path_factory.mktemp("functions")
    sources = Path(__file__).parent / "lambda_runtime"
    runtime = engine.build(
        sources / "Dockerfile", sources, "digits-lambda:test", BASE_IMAGE=base_image
    )
    build = [str(SAM), "build", "--build-dir", str(folder / "build")]
    overrides = ["--parameter-overrides", f"Architecture={CPU}"]
    subprocess.run([*build, *overrides], cwd=ROOT, env=environment, check=True, capture_output=True)
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    return [
        *("--template", str(folder / "build/template.yaml"), *overrides),
        *("--env-vars", str(folder / "settings.json")),
        *("--invoke-image", runtime, "--skip-pull-image", "--force-image-build"),
    ]


@pytest.fixture(scope="module")
def api(options, environment, tmp_path_factory) -> Iterator[str]:
    """Serve the API, with its function in a warm container, and yield its address."""
    port = free_port()
    command = [str(SAM), "local", "start-api", "--port", str(port), "--warm-containers", "LAZY"]
    with Processes(tmp_path_factory.mktemp("logs")) as processes:
        processes.start(
            "sam local start-api",
            [*command, *options],
            env=environment,
            is_up=lambda: answers(port),
            within=60,
        )
        yield f"http://127.0.0.1:{port}"


def call(url: str, data: bytes | None = None) -> tuple[int, dict]:
    """Return status and JSON of a GET, or of a POST of `data`.

    Unlike the gateway, `sam local` does not match image/png with ``image/*`` of the template's
    `BinaryMediaTypes`, and fails on binary bodies of such types. So this sends a type that the
    list contains literally; tests of the handler send the others.
    """
    request = urllib.request.Request(url, data, {"Content-Type": "application/octet-stream"})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, json.loads(answer.read())


def test_the_api_function_answers_health_with_the_bundled_model(api):
    status, answer = call(f"{api}/health")
    assert status == 200
    assert answer == {"status": "ok", "model": bundle.load().manifest.version}


def test_the_api_function_classifies_an_image(api):
    status, answer = call(f"{api}/classify", (GOLDEN / "seven.png").read_bytes())
    assert status == 200
    assert answer["text"] == "7"


def test_the_api_function_answers_other_bytes_with_a_problem(api):
    status, answer = call(f"{api}/classify", b"not an image")
    assert status == 415
    assert answer["code"] == "unsupported_format"


def test_the_labels_function_accepts_the_test_event_of_s3(options, environment, tmp_path):
    """Nothing is labelled, but the function starts, parses the event and answers."""
    notification = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "images"}
    message = {
        "messageId": "1",
        "receiptHandle": "1",
        "body": json.dumps(notification),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:labels",
        "awsRegion": "us-east-1",
    }
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"Records": [message]}))
    done = subprocess.run(
        [str(SAM), "local", "invoke", "S3LabelsFunction", "--event", str(event), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"batchItemFailures": []}
