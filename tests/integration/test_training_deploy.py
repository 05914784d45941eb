"""`infra.training deploy` against moto: its steps before and after `sam deploy`."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from moto.cloudformation.models import cloudformation_backends
from moto.core import DEFAULT_ACCOUNT_ID
from typer.testing import CliRunner

from infra import stacks, training
from infra.stacks import CannotBeDone
from tests.conftest import require
from tests.templates import SAM, load

ROOT = Path(__file__).parents[2]
ROLE_OF_ECS = "/aws-service-role/ecs.amazonaws.com/"
ERRORS = {name: getattr(subprocess, name) for name in ("PIPE", "CalledProcessError")}
# `take` runs SAM's own parser, in SAM's environment.
_TAKE = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))
"""


def stack_with(outputs: dict[str, str], **parameters: str) -> dict[str, Any]:
    body = {
        "Parameters": {name: {"Type": "String"} for name in parameters},
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    return {
        "TemplateBody": json.dumps(body),
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
    }


@dataclass
class Machine:
    """Replaces the programs `docker` and `sam`; `sam deploy` creates the stack in moto."""

    architecture: str = "amd64"
    stage: str = "dev"
    calls: list[tuple[str, ...]] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def run(self, command: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        if command[:2] == ("sam", "deploy"):
            self.roles = [it["Path"] for it in boto3.client("iam").list_roles()["Roles"]]
            boto3.client("cloudformation").create_stack(
                StackName=command[command.index("--stack-name") + 1],
                **stack_with({"RepositoryUri": "registry/repository"}, Stage=self.stage),
            )
        said = f"{self.architecture}\n" if command[1:3] == ("image", "inspect") else None
        return subprocess.CompletedProcess(command, 0, said)

    @property
    def given(self) -> list[str]:
        """The parameter overrides that SAM got."""
        (deploy,) = [call for call in self.calls if call[:2] == ("sam", "deploy")]
        return list(deploy[deploy.index("--parameter-overrides") + 1 :])


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(training, "subprocess", SimpleNamespace(run=made.run, **ERRORS))
    monkeypatch.setattr(training.time, "sleep", made.waited.append)
    with mock_aws():
        boto3.client("cloudformation").create_stack(
            StackName="digits", **stack_with({"ModelsBucket": "their-models"})
        )
        yield made


def deploy(*arguments: str) -> None:
    done = CliRunner().invoke(training.app, ["deploy", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output


def state_of(stack: str, status: str) -> None:
    """Set the status of a stack in moto."""
    backend = cloudformation_backends[DEFAULT_ACCOUNT_ID]["us-east-1"]
    (found,) = [it for it in backend.stacks.values() if it.name == stack]
    found.status = status


def test_in_a_new_account_the_service_role_of_ecs_is_created_before_the_stack(machine):
    deploy()
    assert ROLE_OF_ECS in machine.roles
    assert machine.waited == [training.ROLE_SETTLES]
    assert training.ROLE_SETTLES >= 10


def test_an_existing_service_role_of_ecs_is_left_alone(machine):
    boto3.client("iam").create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
    deploy()
    assert machine.roles.count(ROLE_OF_ECS) == 1
    assert machine.waited == []


def test_a_stack_whose_creation_was_rolled_back_is_removed_and_created_again(machine):
    cloudformation = boto3.client("cloudformation")
    failed = cloudformation.create_stack(StackName="digits-training", **stack_with({}))["StackId"]
    state_of("digits-training", "ROLLBACK_COMPLETE")
    deploy()
    (found,) = cloudformation.describe_stacks(StackName="digits-training")["Stacks"]
    assert (found["StackStatus"], found["StackId"] != failed) == ("CREATE_COMPLETE", True)


@pytest.mark.parametrize(("status", "way_out"), stacks.WAYS_OUT.items())
def test_a_stuck_stack_is_refused_with_the_command_that_unblocks_it(machine, status, way_out):
    boto3.client("cloudformation").create_stack(StackName="digits-training", **stack_with({}))
    state_of("digits-training", status)
    with pytest.raises(CannotBeDone, match=f"{status}.*{way_out} --stack-name digits-training"):
        deploy()
    assert "sam" not in {call[0] for call in machine.calls}


@pytest.mark.parametrize(
    "status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"]
)
@pytest.mark.usefixtures("machine")
def test_a_stack_that_can_be_updated_is_not_removed(status):
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName="digits-training", **stack_with({}))
    state_of("digits-training", status)
    stacks.clear_failed_creation("digits-training")
    (found,) = cloudformation.describe_stacks(StackName="digits-training")["Stacks"]
    assert found["StackStatus"] == status


@pytest.mark.parametrize(("architecture", "cpu"), training.CPUS.items())
def test_the_task_has_the_cpu_that_the_image_was_built_for(machine, architecture, cpu):
    machine.architecture = architecture
    deploy()
    assert machine.calls[0][1:3] == ("image", "inspect")
    assert take(machine.given) == {"CpuArchitecture": cpu, "ModelsBucket": "their-models"}
    offered = load(ROOT / "infra/training.yaml")["Parameters"]["CpuArchitecture"]["AllowedValues"]
    assert cpu in offered


def test_an_image_built_for_another_cpu_is_refused(machine):
    machine.architecture = "arm64"
    with pytest.raises(CannotBeDone, match="DOCKER_DEFAULT_PLATFORM"):
        deploy("--set", "CpuArchitecture=X86_64")
    machine.architecture = "s390x"
    with pytest.raises(CannotBeDone, match="built for s390x"):
        deploy()
    assert "sam" not in {call[0] for call in machine.calls}


def test_every_parameter_of_the_template_can_be_set(machine):
    parameters = load(ROOT / "infra/training.yaml")["Parameters"]
    values = {name: it.get("AllowedValues", ["x"])[0] for name, it in parameters.items()}
    values |= {"SubnetIds": "subnet-1,subnet-2", "ScheduleExpression": "cron(0 3 ? * MON *)"}
    deploy(*(word for name, value in values.items() for word in ("--set", f"{name}={value}")))
    assert take(machine.given) == values


def take(given: list[str]) -> dict[str, str]:
    """Parse parameter overrides as SAM does."""
    require(str(SAM))
    done = subprocess.run(
        [SAM.with_name("python"), "-c", _TAKE, *given], capture_output=True, text=True, check=True
    )
    taken: dict[str, str] = json.loads(done.stdout)
    return taken


@pytest.mark.parametrize("setting", ["Scpot=true", "Spot", "=true"])
def test_a_parameter_that_the_template_does_not_have_is_refused(machine, setting):
    with pytest.raises(CannotBeDone, match="--set"):
        deploy("--set", setting)
    assert "sam" not in {call[0] for call in machine.calls}


@pytest.mark.parametrize(("stage", "is_protected"), [("prod", True), ("staging", False)])
def test_only_a_production_stack_gets_termination_protection(
    machine, monkeypatch, stage, is_protected
):
    machine.stage = stage
    call, protected = BaseClient._make_api_call, []

    def answer(client: Any, name: str, asked: Any) -> Any:
        """Moto has no termination protection."""
        if name == "UpdateTerminationProtection":
            protected.append(asked)
            return {}
        return call(client, name, asked)

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    deploy()
    asked = {"StackName": "digits-training", "EnableTerminationProtection": True}
    assert protected == ([asked] if is_protected else [])


def test_deploying_the_training_template_without_a_stack_name_fails(tmp_path):
    """Both templates share samconfig.toml, which therefore sets no stack name."""
    require(str(SAM))
    done = subprocess.run(
        [SAM, "deploy", "--template-file", ROOT / "infra/training.yaml",
         "--config-file", ROOT / "samconfig.toml", "--no-confirm-changeset"],
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "--stack-name" in done.stderr
