"""What `infra/training.yaml` must say: no way in, no right too many, nothing that bills idle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.templates import (
    assert_sam_finds_nothing_to_complain_of,
    load,
    mentions,
    of_type,
    properties,
    rights,
)
from training_job.__main__ import app

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "infra/training.yaml"
S3 = "arn:AWS::Partition:s3:::ModelsBucket"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return load(TEMPLATE)


@pytest.fixture(scope="module")
def resources(template) -> dict[str, Any]:
    return template["Resources"]


@pytest.fixture(scope="module")
def states(resources) -> dict[str, Any]:
    return properties(resources, "Training")["Definition"]["States"]


def test_sam_finds_nothing_to_complain_of():
    assert_sam_finds_nothing_to_complain_of(TEMPLATE)


def test_training_comes_before_promotion_and_every_end_is_told(states):
    assert states["Train"]["Next"] == "Promote"
    assert states["Promote"]["Next"] == "TellPromoted"
    for step, end in (("Train", "TellFailed"), ("Promote", "TellRefused")):
        (caught,) = states[step]["Catch"]
        assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], end)
        assert states[states[end]["Next"]]["Type"] == "Fail"
        assert states[end]["Resource"]["Fn::Sub"].endswith(":states:::sns:publish")
        assert mentions(states[end]["Parameters"], "Topic")


@pytest.mark.parametrize("step", ["Train", "Promote"])
def test_a_step_waits_for_its_container_and_not_for_ever(states, step):
    assert states[step]["Resource"]["Fn::Sub"].endswith(":states:::ecs:runTask.sync")
    assert 0 < states[step]["TimeoutSeconds"] <= 4 * 3600


def test_the_two_steps_speak_of_the_same_run(states, resources):
    (train,) = states["Train"]["Parameters"]["Overrides"]["ContainerOverrides"]
    (promote,) = states["Promote"]["Parameters"]["Overrides"]["ContainerOverrides"]
    assert train["Command.$"] == "States.Array('training_job', '--run', $$.Execution.Name)"
    assert promote["Command.$"]["Fn::Sub"] == (
        "States.Array('digits.cli', 'model', 'promote',"
        " States.Format('runs/{}', $$.Execution.Name), 's3://${ModelsBucket}')"
    )
    for task, override in (("TrainTask", train), ("PromoteTask", promote)):
        (container,) = properties(resources, task)["ContainerDefinitions"]
        assert container["Name"] == override["Name"]


def test_spare_capacity_that_is_taken_back_is_waited_for(states):
    (strategy,) = states["Train"]["Parameters"]["CapacityProviderStrategy"]
    assert strategy["CapacityProvider"] == {"Fn::If": ["OnSpot", "FARGATE_SPOT", "FARGATE"]}
    timeouts, others = states["Train"]["Retry"]
    assert (timeouts["ErrorEquals"], timeouts["MaxAttempts"]) == (["States.Timeout"], 0)
    assert (others["ErrorEquals"], others["MaxAttempts"] >= 3) == (["States.ALL"], True)


def test_the_job_is_given_settings_that_it_knows(resources):
    (container,) = properties(resources, "TrainTask")["ContainerDefinitions"]
    known = {option.envvar for option in typer_options()}
    given = {item["Name"] for item in container["Environment"]}
    assert given <= known
    assert {"DIGITS_MODELS", "DIGITS_PROMOTE"} <= given


def typer_options() -> list[Any]:
    import typer.main

    return list(typer.main.get_command(app).params)


def test_nothing_gets_in_and_only_tls_gets_out(resources):
    group = properties(resources, "NoWayIn")
    assert group["SecurityGroupIngress"] == []
    (out,) = group["SecurityGroupEgress"]
    assert (out["FromPort"], out["ToPort"]) == (443, 443)


def test_nothing_bills_while_idle(resources):
    dear = {"AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::ElasticLoadBalancingV2::LoadBalancer"}
    dear |= {"AWS::ECS::Service"}
    assert not dear & {it["Type"] for it in resources.values()}
    for endpoint in of_type(resources, "AWS::EC2::VPCEndpoint").values():
        assert endpoint["VpcEndpointType"] == "Gateway"


def test_given_subnets_make_no_network(resources):
    for name, it in resources.items():
        if it["Type"].startswith("AWS::EC2::") and it["Type"] != "AWS::EC2::SecurityGroup":
            assert it["Condition"] == "OwnNetwork", name


def test_the_schedule_is_off_unless_asked_for(template, resources):
    assert template["Parameters"]["ScheduleState"]["Default"] == "DISABLED"
    assert properties(resources, "Schedule")["State"] == {"Ref": "ScheduleState"}


def test_the_job_may_touch_models_runs_and_checkpoints_and_nothing_else(resources):
    assert rights(resources, "TaskRole") == {
        *((action, f"{S3}/{prefix}/*")
          for action in ("s3:GetObject", "s3:PutObject")
          for prefix in ("models", "runs", "checkpoints")),
        ("s3:ListBucket", S3),
    }  # fmt: skip


def test_the_state_machine_may_run_these_tasks_and_pass_these_roles_alone(resources):
    allowed = rights(resources, "TrainingRole")
    assert {resource for action, resource in allowed if action == "ecs:RunTask"} == {
        "TrainTask",
        "PromoteTask",
    }
    assert {resource for action, resource in allowed if action == "iam:PassRole"} == {
        "ExecutionRole.Arn",
        "TaskRole.Arn",
    }
    assert {action for action, _ in allowed} == {
        *("ecs:RunTask", "ecs:StopTask", "ecs:DescribeTasks"),
        *("events:PutTargets", "events:PutRule", "events:DescribeRule"),
        *("iam:PassRole", "sns:Publish"),
    }


@pytest.mark.parametrize("role", ["ExecutionRole", "TaskRole", "TrainingRole", "ScheduleRole"])
def test_no_right_is_wider_than_aws_makes_it(resources, role):
    for action, resource in rights(resources, role):
        assert "*" not in action
        assert resource != "*" or action == "ecr:GetAuthorizationToken"


def test_logs_are_not_kept_for_ever(template, resources):
    for logs in of_type(resources, "AWS::Logs::LogGroup").values():
        assert logs["RetentionInDays"]["Fn::FindInMap"][0] == "ByStage"


def test_every_resource_that_a_text_names_is_there(template, resources):
    named = set(re.findall(r"\$\{([A-Za-z]+)[.}]", TEMPLATE.read_text()))
    assert named <= set(resources) | set(template["Parameters"])


def test_every_parameter_is_explained(template):
    for name, it in template["Parameters"].items():
        assert it["Description"], name
