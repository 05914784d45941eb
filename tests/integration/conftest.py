"""Fixtures with AWS in process (moto) and freshly imported handlers."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws

from digits.labels.label import label_key
from digits.registry import bundle, object_store, registry
from tests.integration.queues import Queues

IMAGES, LABELS, MODELS = "test-images", "test-labels", "test-models"


@pytest.fixture
def s3():
    with mock_aws():
        client = boto3.client("s3")
        for bucket in (IMAGES, LABELS, MODELS):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=IMAGES, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture
def context() -> Any:
    return SimpleNamespace(
        function_name="test",
        function_version="1",
        memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:test",
        aws_request_id="request-1",
        get_remaining_time_in_millis=lambda: 30_000,
    )


def fresh(module: str) -> ModuleType:
    """Import a function's module as a cold start does."""
    for name in [name for name in sys.modules if name.startswith("lambda_predict")]:
        del sys.modules[name]
    return importlib.import_module(f"lambda_predict.{module}")


@pytest.fixture
def environment(s3, monkeypatch):
    monkeypatch.setenv("DIGITS_MODELS", f"s3://{MODELS}")
    monkeypatch.setenv("DIGITS_IMAGES_BUCKET", IMAGES)
    monkeypatch.setenv("DIGITS_LABELS_BUCKET", LABELS)
    monkeypatch.setenv("DIGITS_MODEL_REFRESH_SECONDS", "0")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Digits")
    # A service name for each test, because Powertools keeps a logger for each service.
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"test-{uuid4()}")
    return monkeypatch


@pytest.fixture
def label(s3) -> Callable[[str], Any]:
    """Return a function that reads the label of an image."""

    def read(key):
        answer = s3.get_object(Bucket=LABELS, Key=label_key(key))
        return json.loads(answer["Body"].read())

    return read


@pytest.fixture
def http_api(environment):
    return fresh("http_api")


@pytest.fixture
def s3_labels(environment):
    return fresh("s3_labels")


@pytest.fixture
def queues(s3_labels) -> Queues:
    """Create the stack's queues, connected to the labels function."""
    return Queues(s3_labels.handler)


@pytest.fixture
def sweep(environment, queues) -> ModuleType:
    """Import the sweep's function, with a grace period of 0 s."""
    environment.setenv("DIGITS_IMAGES_BUCKET", IMAGES)
    environment.setenv("DIGITS_LABELS_QUEUE_URL", queues.urls["LabelsQueue"])
    environment.setenv("DIGITS_SWEEP_GRACE_SECONDS", "0")
    return fresh("sweep")


def describe_stack(**outputs: str) -> None:
    """Create a stack ``digits`` whose outputs are its buckets and `outputs`."""
    outputs = {"ImagesBucket": IMAGES, "LabelsBucket": LABELS} | outputs
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    boto3.client("cloudformation").create_stack(
        StackName="digits", TemplateBody=json.dumps(template)
    )


def publish_shipped() -> registry.Pointer:
    """Publish and promote the shipped model in the models bucket."""
    return registry.publish(bundle.SHIPPED, object_store.open_store(f"s3://{MODELS}"))
