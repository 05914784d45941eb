"""Error handling of the training's state machine: moto interprets the real definition.

Moto's ECS starts no container, so here the steps do not wait for one: the call that starts a task
returns its outcome and the description of its failure.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

DEFINITION = Path(__file__).parents[2] / "infra/training.asl.json"
VALUES = {
    "Partition": "aws",
    "Cluster": "cluster",
    "TrainTask": "train",
    "PromoteTask": "promote",
    "CapacityProvider": "FARGATE_SPOT",
    "Subnets": "subnet-a,subnet-b",
    "SecurityGroup": "sg-1",
    "AssignPublicIp": "ENABLED",
    "ModelsBucket": "models",
    "Topic": "arn:aws:sns:us-east-1:123456789012:training",
}
# The causes of stopped tasks; Step Functions reports each as ECS's error TaskFailed.
TAKEN_BACK = '{"StopCode":"SpotInterruption","StoppedReason":"Your Spot Task was interrupted."}'
NO_CAPACITY = "Capacity is unavailable at this time. Please try again later."
NOT_PULLED = '{"StopCode":"TaskFailedToStart","StoppedReason":"CannotPullContainerError"}'
EXITED = '{"Containers":[{"ExitCode":2}],"StopCode":"EssentialContainerExited"}'
WELL = ""


@dataclass
class Ecs:
    """Answers each call that starts a task with the next outcome, and records the calls."""

    outcomes: list[str]
    calls: list[dict[str, Any]] = field(default_factory=list)

    def run_task(self, call: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(call)
        if cause := self.outcomes.pop(0):
            error = {"Code": "TaskFailed", "Message": cause}
            raise ClientError({"Error": error, "ResponseMetadata": ANSWERED}, "RunTask")
        return {"Tasks": []}

    @property
    def capacities(self) -> list[str]:
        return [
            strategy["CapacityProvider"]
            for call in self.calls
            for strategy in call["CapacityProviderStrategy"]
        ]


ANSWERED: Any = {"HTTPStatusCode": 400, "RequestId": "1"}


@dataclass(frozen=True)
class Run:
    status: str
    steps: list[str]
    ecs: Ecs


@pytest.fixture
def run(monkeypatch) -> Callable[..., Run]:
    """Return a function that runs the machine without delays, with these outcomes of its tasks."""
    text = re.sub(r"\$\{(\w+)\}", lambda it: VALUES[it[1]], DEFINITION.read_text())
    text = re.sub(r'"IntervalSeconds": \d+', '"IntervalSeconds": 1', text)
    text = re.sub(r'"BackoffRate": \d+', '"BackoffRate": 1', text)
    text = text.replace("states:::ecs:runTask.sync", "states:::aws-sdk:ecs:runTask")
    call = botocore.client.BaseClient._make_api_call

    def go(*outcomes: str, given: Any = None) -> Run:
        ecs = Ecs(list(outcomes))
        monkeypatch.setattr(
            botocore.client.BaseClient,
            "_make_api_call",
            lambda client, name, it: (
                ecs.run_task(it) if name == "RunTask" else call(client, name, it)
            ),
        )
        with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
            boto3.client("sns").create_topic(Name="training")
            steps = boto3.client("stepfunctions")
            machine = steps.create_state_machine(
                name="training", definition=text, roleArn="arn:aws:iam::123456789012:role/it"
            )["stateMachineArn"]
            execution = steps.start_execution(
                stateMachineArn=machine, name="first", input=json.dumps(given or {})
            )["executionArn"]
            deadline = time.monotonic() + 60
            while steps.describe_execution(executionArn=execution)["status"] == "RUNNING":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            ended = steps.describe_execution(executionArn=execution)
            events = steps.get_execution_history(executionArn=execution)["events"]
        entered = (event.get("stateEnteredEventDetails") for event in events)
        return Run(ended["status"], [it["name"] for it in entered if it], ecs)

    return go


def test_a_model_is_trained_on_spot_capacity_and_promoted(run):
    done = run(WELL, WELL, given={"environment": [{"Name": "DIGITS_SEED", "Value": "2"}]})
    assert (done.status, done.ecs.capacities) == ("SUCCEEDED", ["FARGATE_SPOT", "FARGATE"])
    assert done.steps == ["Settings", "Capacity", "Train", "Promote", "TellPromoted"]
    train, promote = done.ecs.calls
    (training,) = train["Overrides"]["ContainerOverrides"]
    assert training["Command"] == ["training_job", "--run", "first"]
    assert training["Environment"] == [{"Name": "DIGITS_SEED", "Value": "2"}]
    (promotion,) = promote["Overrides"]["ContainerOverrides"]
    assert promotion["Command"][-2:] == ["runs/first", "s3://models"]
    for call in (train, promote):
        network = call["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["Subnets"] == ["subnet-a", "subnet-b"]


def test_a_run_without_settings_passes_an_empty_environment(run):
    done = run(WELL, WELL)
    assert done.steps[:4] == ["Settings", "NoSettings", "Capacity", "Train"]
    (training,) = done.ecs.calls[0]["Overrides"]["ContainerOverrides"]
    assert training["Environment"] == []


def test_a_spot_interruption_is_retried_on_spot_capacity(run):
    done = run(NO_CAPACITY, TAKEN_BACK, WELL, WELL)
    assert done.status == "SUCCEEDED"
    assert done.ecs.capacities == ["FARGATE_SPOT"] * 3 + ["FARGATE"]
    assert "OnDemand" not in done.steps


@pytest.mark.parametrize("last", [TAKEN_BACK, NO_CAPACITY, NOT_PULLED])
def test_without_spot_capacity_the_run_continues_on_demand(run, last):
    done = run(NO_CAPACITY, TAKEN_BACK, last, WELL, WELL)
    assert done.status == "SUCCEEDED"
    assert done.ecs.capacities == ["FARGATE_SPOT"] * 3 + ["FARGATE"] * 2
    assert done.steps[-6:] == ["Train", "CutOff", "OnDemand", "Train", "Promote", "TellPromoted"]
    names = {
        call["Overrides"]["ContainerOverrides"][0]["Command"][2] for call in done.ecs.calls[:4]
    }
    assert names == {"first"}, "the checkpoint is found by the run's name"


def test_a_failing_job_is_not_retried_on_demand(run):
    done = run(EXITED, EXITED, EXITED)
    assert (done.status, done.steps[-3:]) == ("FAILED", ["CutOff", "TellFailed", "NotTrained"])
    assert "FARGATE" not in done.ecs.capacities


def test_a_run_that_fails_on_demand_ends_as_failed(run):
    done = run(*[TAKEN_BACK] * 3, *[NO_CAPACITY] * 3)
    assert (done.status, done.steps[-2:]) == ("FAILED", ["TellFailed", "NotTrained"])


def test_promotion_is_retried_after_a_transient_fault(run):
    done = run(WELL, NOT_PULLED, NO_CAPACITY, WELL)
    assert (done.status, done.steps[-1]) == ("SUCCEEDED", "TellPromoted")


def test_a_refused_model_ends_the_run_with_a_notification(run):
    done = run(WELL, EXITED, EXITED, EXITED)
    assert (done.status, done.steps[-2:]) == ("FAILED", ["TellRefused", "NotPromoted"])
