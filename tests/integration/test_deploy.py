"""What `make deploy` does in addition to `sam deploy`; and `make smoke`."""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from moto import mock_aws
from moto.cloudformation.models import cloudformation_backends
from typer.testing import CliRunner

from digits.labels.label import label_key
from infra import deploy, destroy, smoke
from infra.stacks import CannotBeDone
from tests import gateway
from tests.integration.conftest import IMAGES, LABELS
from tests.templates import ROOT, SAM

OUTPUTS = ("ApiUrl", "ApiKeyId", "ImagesBucket", "LabelsBucket", "ModelsBucket", "DashboardUrl")
TEMPLATE = {
    "Parameters": {"Stage": {"Type": "String", "Default": "dev"}},
    "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
    "Outputs": {name: {"Value": f"the-{name.lower()}"} for name in OUTPUTS},
}


@pytest.fixture
def cloudformation():
    with mock_aws():
        yield boto3.client("cloudformation")


@pytest.fixture
def sam(tmp_path, monkeypatch, cloudformation):
    """Replace SAM by a program that records its arguments; return the file of the record."""
    notes = tmp_path / "arguments"
    program = tmp_path / "sam"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {notes}\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    run = subprocess.run

    def deployed(command, **options):
        done = run(command, **options)
        arguments = notes.read_text().splitlines()
        stage = "prod" if 'Stage="prod"' in arguments else "dev"
        cloudformation.create_stack(
            StackName=arguments[arguments.index("--stack-name") + 1],
            TemplateBody=json.dumps(TEMPLATE),
            Parameters=[{"ParameterKey": "Stage", "ParameterValue": stage}],
        )
        return done

    monkeypatch.setattr(subprocess, "run", deployed)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return notes


def run(app, *arguments: str):
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


def test_deploy_prints_the_outputs_the_idle_cost_and_an_example_call(sam):
    done = run(deploy.app)
    assert done.exit_code == 0, done.output
    for name in ("ApiUrl", "ImagesBucket", "LabelsBucket", "ModelsBucket", "DashboardUrl"):
        assert f"the-{name.lower()}" in done.output
    assert "--api-key the-apikeyid --query value --output text" in done.output
    (dollars,) = re.findall(r"Idle +([\d.]+) US dollars a month", done.output)
    assert 0 < float(dollars) <= 2
    (curl,) = (line for line in done.output.splitlines() if line.startswith("  curl "))
    words = shlex.split(curl)
    assert words[-1] == "the-apiurl/classify"
    (sample,) = (word.removeprefix("@") for word in words if word.startswith("@"))
    assert (ROOT / sample).exists()


def test_a_declined_change_is_reported_as_not_deployed(cloudformation, tmp_path, monkeypatch):
    """SAM then leaves a change set that it did not execute, and exits with 0."""
    cloudformation.create_stack(StackName="digits", TemplateBody=json.dumps(TEMPLATE))
    offer = {"StackName": "digits", "TemplateBody": json.dumps(TEMPLATE | {"Description": "new"})}
    cloudformation.create_change_set(ChangeSetName="declined-last-week", **offer)
    answers = iter(["no changes", "declined"])

    def answered(command, **_):
        if (answer := next(answers)) == "declined":
            cloudformation.create_change_set(ChangeSetName=answer, **offer)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", answered)
    assert "the-apiurl" in run(deploy.app).output
    done = run(deploy.app)
    assert isinstance(done.exception, CannotBeDone)
    assert "declined" in str(done.exception)
    assert "the-apiurl" not in done.output


def test_parameters_with_spaces_and_quotes_reach_sam_unchanged(sam):
    values = ("Stage=prod", "SweepSchedule=rate(1 day)", 'CorsOrigin=https://"x')
    run(deploy.app, *(word for it in values for word in ("--set", it)))
    arguments = sam.read_text().splitlines()
    given = arguments[arguments.index("--parameter-overrides") + 1 :]
    read = (
        "import json, sys; from samcli.cli.types import CfnParameterOverridesType as Type;"
        "print(json.dumps(Type().convert(tuple(sys.argv[1:]), None, None)))"
    )
    done = subprocess.Popen(
        [SAM.parent / "python", "-c", read, *given], stdout=subprocess.PIPE, text=True
    )
    out, _ = done.communicate()
    assert json.loads(out) == dict(it.split("=", 1) for it in values)


@pytest.mark.parametrize("setting", ["Stage", "Stagee=prod", "=prod"])
def test_an_invalid_parameter_is_refused_before_sam_runs(sam, setting):
    done = run(deploy.app, "--set", setting)
    assert isinstance(done.exception, CannotBeDone)
    assert not sam.exists()


def test_the_stack_of_a_failed_first_deployment_is_removed_before_deploying(sam, cloudformation):
    left = cloudformation.create_stack(StackName="digits", TemplateBody=json.dumps(TEMPLATE))
    (backend,) = (it["us-east-1"] for it in cloudformation_backends.values())
    backend.stacks[left["StackId"]].status = "ROLLBACK_COMPLETE"
    done = run(deploy.app)
    assert done.exit_code == 0, done.output
    (now,) = cloudformation.describe_stacks(StackName="digits")["Stacks"]
    assert now["StackId"] != left["StackId"]
    assert now["StackStatus"] == "CREATE_COMPLETE"


def test_a_stack_name_that_is_too_long_is_refused_before_sam_runs(sam):
    done = run(deploy.app, "--stack", "d" * (deploy.LONGEST_NAME + 1))
    assert isinstance(done.exception, CannotBeDone)
    assert not sam.exists()


@pytest.mark.parametrize(("stage", "protected"), [("prod", True), ("dev", False)])
def test_only_a_stack_of_the_stage_prod_gets_termination_protection(
    sam, monkeypatch, stage, protected
):
    asked = []
    monkeypatch.setattr(
        "botocore.client.BaseClient._make_api_call",
        recording(asked, "UpdateTerminationProtection"),
    )
    done = run(deploy.app, "--set", f"Stage={stage}")
    assert done.exit_code == 0, done.output
    wanted = {"StackName": "digits", "EnableTerminationProtection": True}
    assert asked == ([wanted] if protected else [])


def recording(asked, operation):
    """Record the calls of an operation that moto lacks; pass the others on."""
    from botocore.client import BaseClient

    through = BaseClient._make_api_call

    def call(client, name, given):
        if name != operation:
            return through(client, name, given)
        asked.append(given)
        return {}

    return call


@pytest.fixture
def protected(cloudformation, monkeypatch):
    """Create a protected stack; return the recorded calls that change its protection."""
    asked = []
    cloudformation.create_stack(StackName="digits", TemplateBody=json.dumps(TEMPLATE))
    monkeypatch.setattr(
        "infra.stacks.described", lambda _: {"EnableTerminationProtection": not asked}
    )
    monkeypatch.setattr(
        "botocore.client.BaseClient._make_api_call",
        recording(asked, "UpdateTerminationProtection"),
    )
    return asked


def test_a_protected_stack_is_not_removed_and_the_error_names_unprotect(cloudformation, protected):
    done = run(destroy.app, "--stack", "digits", "--yes")
    assert isinstance(done.exception, CannotBeDone)
    assert "--unprotect" in str(done.exception)
    assert cloudformation.describe_stacks(StackName="digits")["Stacks"]
    assert protected == []


def test_unprotect_removes_the_stack_only_after_confirmation(cloudformation, protected):
    run(destroy.app, "--stack", "digits", "--unprotect")
    assert protected == []
    done = run(destroy.app, "--stack", "digits", "--unprotect", "--yes")
    assert done.exit_code == 0, done.output
    assert protected == [{"StackName": "digits", "EnableTerminationProtection": False}]
    assert not cloudformation.describe_stacks()["Stacks"]


# --- make smoke ---


def test_smoke_fails_on_a_wrong_classification_and_shows_it(http_api, context, monkeypatch):
    eight = Path(ROOT / "tests/golden/eight.jpg")
    with gateway.serve(http_api.handler, context) as url:
        monkeypatch.setattr(smoke, "SEVEN", eight)
        done = run(smoke.app, "--url", url, "--key", gateway.KEY)
    assert isinstance(done.exception, CannotBeDone)
    assert '"text":"8"' in str(done.exception)


def test_smoke_checks_every_call_of_the_api(http_api, context, s3, monkeypatch):
    monkeypatch.setattr(smoke.Api, "put", put_and_label(s3, "7"))
    with gateway.serve(http_api.handler, context) as url:
        done = run(smoke.app, "--url", url, "--key", gateway.KEY)
    assert done.exit_code == 0, done.output
    passed = (line for line in done.output.splitlines() if line.startswith("✓"))
    named = [line[2:].partition(":")[0] for line in passed]
    assert named == ["health", "classify", "upload and label", "error", "key", "docs"]


@pytest.mark.parametrize(("label", "message"), [("1", '"text": "1"'), (None, "202.*waiting")])
def test_smoke_fails_on_a_wrong_or_missing_label(
    http_api, context, s3, monkeypatch, label, message
):
    monkeypatch.setattr(smoke.Api, "put", put_and_label(s3, label))
    with gateway.serve(http_api.handler, context) as url:
        done = run(smoke.app, "--url", url, "--key", gateway.KEY, "--within", "0")
    assert isinstance(done.exception, CannotBeDone)
    assert re.search(message, str(done.exception))


def put_and_label(s3, text):
    """Return a PUT that stores the upload and labels it with `text`, or not at all if None."""

    def put(_, address, body, headers):
        key = urlsplit(address).path.removeprefix("/")
        s3.put_object(Bucket=IMAGES, Key=key, Body=body)
        if text is not None:
            s3.put_object(Bucket=LABELS, Key=label_key(key), Body=json.dumps({"text": text}))
        return 200

    return put
