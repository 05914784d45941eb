"""Least privilege: each function's recorded calls against its role in `template.yaml`.

The local cloud does not enforce permissions, so a missing one would first fail on AWS. Here every
call that a handler makes through boto3 is recorded and compared with its role.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import boto3
import pytest
from botocore.handlers import BUILTIN_HANDLERS

from digits.labels.label import label_key
from tests.integration.conftest import IMAGES, LABELS, MODELS, fresh, publish_shipped
from tests.integration.test_http_api import request
from tests.integration.test_s3_labels import batch, failures, s3_event
from tests.templates import (
    as_list,
    evaluate_policies,
    load,
    of_type,
    render,
    resolved,
    rights,
    statements,
)

RESOURCES = load(Path(__file__).parents[2] / "template.yaml")["Resources"]
BUCKETS = {IMAGES: "ImagesBucket", LABELS: "LabelsBucket", MODELS: "ModelsBucket"}
QUEUES = ("LabelsQueue", "RetryQueue", "DeadLetterQueue")
ARNS = {
    **{name: f"arn:aws:s3:::{bucket}" for bucket, name in BUCKETS.items()},
    **{name: f"arn:aws:sqs:us-east-1:123456789012:{name}" for name in QUEUES},
}
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
ACTIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
}
# Lambda uses these for the function; our code does not.
USED_BY_LAMBDA = (
    *("logs:CreateLogStream", "logs:PutLogEvents"),
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
    "sqs:GetQueueAttributes",
)


class Recorder:
    """Records the (action, resource) of each call that a function makes, as policies name them.

    A 404 for a missing object needs the right to list its bucket; otherwise S3 answers 403.
    """

    def __init__(self, context):
        self.calls: set[tuple[str, str]] = set()
        # The same for IAM: with the ARN, and the prefix of a listing.
        self.requests: set[tuple[str, str, str | None]] = set()
        self._context = context
        self._is_on = False
        self.handlers = [
            ("provide-client-params.s3.*", self._call),
            ("after-call.s3.*", self._answer),
            ("provide-client-params.sqs.*", self._send),
        ]

    def invoke(self, module, event):
        self._is_on = True
        try:
            return module.handler(event, self._context)
        finally:
            self._is_on = False

    def _call(self, params, model, context, **_):
        if not self._is_on:
            return
        context["bucket"] = BUCKETS[params["Bucket"]]
        arn = ARNS[context["bucket"]]
        action = ACTIONS[model.name]
        if action.startswith("s3:List"):
            self.requests.add((action, arn, params.get("Prefix")))
            self.calls.add((action, f"{context['bucket']}.Arn"))
            return
        action += "Version" if params.get("VersionId") else ""
        self.requests.add((action, f"{arn}/{params['Key']}", None))
        self.calls.add((action, f"{context['bucket']}.Arn/{params['Key']}"))

    def _send(self, model, **_):
        if self._is_on:
            assert model.name == "SendMessageBatch"
            self.calls.add(("sqs:SendMessage", "LabelsQueue.Arn"))
            self.requests.add(("sqs:SendMessage", ARNS["LabelsQueue"], None))

    def _answer(self, http_response, context, **_):
        if self._is_on and http_response.status_code == 404:
            self.calls.add(("s3:ListBucket", f"{context['bucket']}.Arn"))
            # A GET has no prefix, so a right to list below a prefix does not turn a 403 into a 404.
            self.requests.add(("s3:ListBucket", ARNS[context["bucket"]], None))


@pytest.fixture
def recorder(environment, context):
    recorder = Recorder(context)
    # Handlers of every session that is created from now on, boto3's default included.
    BUILTIN_HANDLERS.extend(recorder.handlers)
    boto3.setup_default_session()
    yield recorder
    for handler in recorder.handlers:
        BUILTIN_HANDLERS.remove(handler)
    boto3.setup_default_session()


def allowed(role: str) -> set[tuple[str, str]]:
    return {it for it in rights(RESOURCES, role) if it[0] not in USED_BY_LAMBDA}


def is_allowed(call: tuple[str, str], granted: set[tuple[str, str]]) -> bool:
    return any(call[0] == action and fnmatchcase(call[1], pattern) for action, pattern in granted)


def label_images(recorder, s3, seven):
    """Write a label, a tombstone and an error label, and load a promoted model."""
    module = fresh("s3_labels")
    for body in (seven, b"not an image"):
        s3.put_object(Bucket=IMAGES, Key="a.png", Body=body)
        answer = recorder.invoke(module, batch(s3_event("a.png", "gone.png")))
        assert failures(answer) == []
    publish_shipped()
    assert failures(recorder.invoke(module, batch(s3_event("a.png")))) == []


def make_every_call(recorder, s3, seven):
    """Make every call of the API."""
    module = fresh("http_api")
    assert recorder.invoke(module, request(body=seven))["statusCode"] == 200
    publish_shipped()
    assert recorder.invoke(module, request("GET", "/model"))["statusCode"] == 200

    def send(path, **given):
        body = json.dumps(given).encode()
        answer = recorder.invoke(
            module, request("POST", path, body=body, content_type="application/json")
        )
        return json.loads(answer["body"])

    key = send("/uploads", name="a.png", size=len(seven))["key"]
    s3.put_object(Bucket=IMAGES, Key=key, Body=seven)
    path = f"/labels/{key}"
    assert recorder.invoke(module, request("GET", path))["statusCode"] == 202
    s3.put_object(Bucket=LABELS, Key=label_key(key), Body=b"{}")
    assert recorder.invoke(module, request("GET", path))["statusCode"] == 200
    assert "id" in send("/feedback", truth="7", model="v1", key=key)


def sweep_images(recorder, s3, seven):
    """Sweep an image without label, and resume with a second run."""
    s3.put_object(Bucket=IMAGES, Key="a.png", Body=seven)
    module = fresh("sweep")
    for _ in range(2):
        assert recorder.invoke(module, {})["sent"] == 1


def label_existing_images(recorder, s3, seven):
    """Label images, skip one, handle one deleted since the listing, and queue a failed batch."""
    for key in ("a.png", "sub/b.png"):
        s3.put_object(Bucket=IMAGES, Key=key, Body=seven)
    module = fresh("backfill")
    listed = [{"Item": {"Key": key}} for key in ("a.png", "sub/b.png", "gone.png")]
    assert recorder.invoke(module, {"Items": listed})["labelled"] == 3
    publish_shipped()
    assert recorder.invoke(module, listed[0]) == {"skipped": 1}
    assert recorder.invoke(module, {"HandOver": {"Items": listed}}) == {"handed_over": 3}


FUNCTIONS = [
    ("S3LabelsRole", label_images),
    ("HttpApiRole", make_every_call),
    ("SweepRole", sweep_images),
    ("BackfillRole", label_existing_images),
]


@pytest.mark.usefixtures("sweep")  # for its settings; each `work` imports its module again
@pytest.mark.parametrize(("role", "work"), FUNCTIONS)
def test_each_role_grants_exactly_the_calls_of_its_function(role, work, recorder, s3, seven):
    granted = allowed(role)
    work(recorder, s3, seven)
    assert recorder.calls
    assert {call for call in recorder.calls if not is_allowed(call, granted)} == set()
    unused = {it for it in granted if not any(is_allowed(call, {it}) for call in recorder.calls)}
    assert unused == set()


@pytest.fixture(scope="module")
def rendered():
    return render()


def policies(rendered, role):
    """Return the role's statements for our code, and the Deny statements of buckets and queues."""
    own = [
        {
            **it,
            "Action": [action for action in as_list(it["Action"]) if action not in USED_BY_LAMBDA],
        }
        for it in statements(rendered, role)
        if not set(as_list(it["Action"])) <= set(USED_BY_LAMBDA)
    ]
    guards = [
        {**statement, "Resource": list(ARNS.values()) + [f"{arn}/*" for arn in ARNS.values()]}
        if statement["Resource"] == "*"
        else statement
        for kind in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy")
        for policy in of_type(rendered, kind).values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    ]
    return resolved(own, ARNS), resolved(guards, ARNS)


FORBIDDEN = [
    ("HttpApiRole", "s3:GetObject", "ImagesBucket", "/private.png"),
    ("HttpApiRole", "s3:PutObject", "ImagesBucket", "/private.png"),
    ("HttpApiRole", "s3:GetObject", "LabelsBucket", "/labels/private.png.json"),
    ("HttpApiRole", "s3:PutObject", "LabelsBucket", "/labels/uploads/a.png.json"),
    ("HttpApiRole", "s3:GetObject", "LabelsBucket", "/feedback/a/image.png"),
    ("HttpApiRole", "s3:PutObject", "ModelsBucket", "/models/current.json"),
    ("HttpApiRole", "sqs:SendMessage", "LabelsQueue", ""),
    ("S3LabelsRole", "s3:PutObject", "ImagesBucket", "/a.png"),
    ("S3LabelsRole", "s3:DeleteObject", "LabelsBucket", "/labels/a.png.json"),
    ("S3LabelsRole", "s3:PutObject", "LabelsBucket", "/feedback/a/image.png"),
    ("S3LabelsRole", "s3:GetObject", "LabelsBucket", "/feedback/a/image.png"),
    ("S3LabelsRole", "s3:PutObject", "ModelsBucket", "/models/current.json"),
    ("S3LabelsRole", "sqs:SendMessage", "LabelsQueue", ""),
    ("BackfillRole", "s3:PutObject", "ImagesBucket", "/a.png"),
    ("BackfillRole", "s3:PutObject", "LabelsBucket", "/feedback/a/image.png"),
    ("SweepRole", "s3:GetObject", "ImagesBucket", "/a.png"),
    ("SweepRole", "s3:PutObject", "LabelsBucket", "/labels/a.png.json"),
    ("SweepRole", "sqs:SendMessage", "RetryQueue", ""),
]


@pytest.mark.parametrize("role", sorted({role for role, *_ in FORBIDDEN}))
def test_the_deployed_policies_deny_access_outside_a_functions_task(rendered, role):
    own, _ = policies(rendered, role)
    requests = [
        (action, ARNS[resource] + path, {})
        for owner, action, resource, path in FORBIDDEN
        if owner == role
    ]
    decisions = evaluate_policies([{"Version": "2012-10-17", "Statement": own}], requests)
    assert dict(zip(map(str, requests), decisions, strict=True)) == {
        str(request): "ImplicitDeny" for request in requests
    }


@pytest.mark.usefixtures("sweep")
@pytest.mark.parametrize(("role", "work"), FUNCTIONS)
def test_the_deployed_policies_allow_every_call_and_have_no_unused_statement(
    rendered, role, work, recorder, s3, seven
):
    """The local cloud's evaluator also checks conditions: prefixes and encrypted transport."""
    own, guards = policies(rendered, role)
    work(recorder, s3, seven)
    requests = [
        (action, arn, {"s3:prefix": prefix} if prefix else {})
        for action, arn, prefix in sorted(recorder.requests, key=str)
    ]

    def decisions(statements, **how):
        document = {"Version": "2012-10-17", "Statement": [*statements, *guards]}
        return dict(
            zip(map(str, requests), evaluate_policies([document], requests, **how), strict=True)
        )

    assert len(requests) > 3
    assert set(decisions(own).items()) == {(str(it), "Allow") for it in requests}
    assert set(decisions(own, secure=False).values()) == {"Deny"}
    for statement in own:
        rest = [it for it in own if it is not statement]
        assert "ImplicitDeny" in decisions(rest).values(), f"{statement['Sid']} is never used"
