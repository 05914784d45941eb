"""Upper bounds on the work of a cold start and of an answer, counted instead of timed.

`python -m benchmarks.coldstart` measures the times. A count has no noise; each bound is about a
quarter above the count when it was set, so that it catches a new package and not a new module.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import samples
from digits import image
from infra.local.events import of_gateway

MODULES = 400  # 325 counted: numpy, PIL, pydantic, LiteRT, Powertools and our own
CALLS = 520  # 426 counted
ROOT = Path(__file__).parents[2]
# An answer needs none of these, and each takes long to import.
HEAVY = {
    *("boto3", "s3transfer", "tensorflow", "keras", "pandas", "matplotlib", "scipy", "sklearn"),
    *("rich", "typer", "streamlit", "pillow_heif", "training_job", "infra", "benchmarks"),
    *("multiprocessing", "unittest", "pydantic.v1", "pydantic.networks", "numpy.random"),
    "numpy.ma",
    *("numpy.testing", "numpy.f2py", "PIL.TiffImagePlugin", "PIL.ImageFont", "PIL.ImageDraw"),
    *("botocore.session", "botocore.client", "lambda_predict.uploads", "lambda_predict.feedback"),
}
FIRST_ANSWER = """
import json, sys
from types import SimpleNamespace
event = json.load(sys.stdin)
from lambda_predict import http_api
context = SimpleNamespace(
    function_name="test", function_version="1", memory_limit_in_mb=1769, aws_request_id="1",
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:test",
)
answer = http_api.handler(event, context)
assert answer["statusCode"] == 200, answer
print("\\n" + json.dumps(sorted(sys.modules)))
"""


def printed(script: str, given: str = "", **settings: str) -> str:
    """Run a script in a new interpreter with a function's environment; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "POWERTOOLS_METRICS_NAMESPACE": "Digits",
            "POWERTOOLS_SERVICE_NAME": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            **settings,
        },
    )
    return done.stdout


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Return the modules that a function has imported after its first answer."""
    event = of_gateway(
        "POST", "/classify", headers={"Content-Type": "image/png"}, body=samples.small(1)[0]
    )
    return set(json.loads(printed(FIRST_ANSWER, json.dumps(event)).splitlines()[-1]))


def test_the_first_answer_imports_no_heavy_package(imported):
    assert "digits.classifier" in imported
    assert sorted(name for name in HEAVY if name in imported) == []


def test_the_first_answer_imports_few_modules(imported):
    """Modules of the standard library are not counted; they differ between Python versions."""
    counted = [it for it in imported if it.partition(".")[0] not in sys.stdlib_module_names]
    assert 100 < len(counted) <= MODULES


@pytest.mark.parametrize("function", ["http_api", "s3_labels", "backfill", "sweep"])
def test_garbage_collection_is_off_during_a_start_and_on_afterwards(function):
    script = (
        "import gc; seen = []; gc.callbacks.append(lambda phase, _: seen.append(phase));"
        "import lambda_predict; seen.clear();"
        f"import lambda_predict.{function};"
        "print(len(seen), gc.isenabled(), gc.get_freeze_count() > 10_000)"
    )
    said = printed(script, AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001")
    assert said.split() == ["0", "True", "True"]


def test_an_answer_takes_few_python_calls(classifier):
    """Besides the classifier, Python calls take most of the time for a small picture."""
    data = samples.small(1)[0]
    classifier.classify(data)
    calls = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        classifier.classify(data)
    finally:
        sys.setprofile(None)
    assert 100 < calls <= CALLS


def test_a_batch_of_small_pictures_is_one_run_of_the_classifier(classifier, monkeypatch):
    shown = []
    run = classifier._network.run

    def watched(frames):
        shown.append(len(frames))
        return run(frames)

    monkeypatch.setattr(classifier._network, "run", watched)
    files = samples.small(20)
    results = classifier.read_all([image.decode(file) for file in files])
    assert shown == [20]
    for result, file in zip(results, files, strict=True):
        alone = classifier.classify(file)
        assert result.text == alone.text
        np.testing.assert_allclose(
            result.digits[0].probabilities, alone.digits[0].probabilities, atol=2e-6
        )


def test_a_batch_keeps_the_order_of_its_pictures(classifier, seven, one):
    small = samples.small(3)
    files = [small[0], seven, small[1], one, small[2]]
    together = classifier.read_all([image.decode(file) for file in files])
    assert [it.text for it in together] == [classifier.classify(file).text for file in files]
    assert [it.image.width for it in together] == [image.decode(file).width for file in files]
    assert classifier.read_all([]) == []
