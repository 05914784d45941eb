"""What `infra/training.yaml` must say: no way in, no right too many, nothing that bills idle."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.templates import (
    assert_every_blank_is_filled_in,
    assert_sam_finds_nothing_to_complain_of,
    assert_the_linter_takes_the_steps,
    load,
    mentions,
    of_type,
    properties,
    render,
    rights,
    steps,
)
from training_job.__main__ import app

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "infra/training.yaml"
DEFINITION = ROOT / "infra/training.asl.json"
# MiB that Fargate offers with so many CPU units:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
FARGATE = {
    "256": {512, 1024, 2048},
    "512": {*range(1024, 4097, 1024)},
    "1024": {*range(2048, 8193, 1024)},
    "2048": {*range(4096, 16385, 1024)},
    "4096": {*range(8192, 30721, 1024)},
    "8192": {*range(16384, 61441, 4096)},
    "16384": {*range(32768, 122881, 8192)},
}
S3 = "arn:AWS::Partition:s3:::ModelsBucket"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return load(TEMPLATE)


@pytest.fixture(scope="module")
def resources(template) -> dict[str, Any]:
    return template["Resources"]


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    return render(TEMPLATE, ModelsBucket="models")


@pytest.fixture(scope="module")
def states() -> dict[str, Any]:
    return json.loads(DEFINITION.read_text())["States"]


def test_sam_finds_nothing_to_complain_of():
    assert_sam_finds_nothing_to_complain_of(TEMPLATE)


def test_the_linter_finds_nothing_to_complain_of_in_the_steps(tmp_path):
    assert_the_linter_takes_the_steps(filled(), tmp_path)


def filled() -> dict[str, Any]:
    return steps(DEFINITION, Partition="aws")


def test_the_steps_are_filled_in_from_the_stack_and_nothing_stays_open(rendered):
    assert_every_blank_is_filled_in(rendered, "Training", DEFINITION)


def test_a_step_has_no_name_of_another_partition():
    assert "arn:aws" not in DEFINITION.read_text() + TEMPLATE.read_text()


def test_the_state_machine_is_named_by_cloudformation_whatever_the_stack_is_called(rendered):
    """A name made of the stack's, which may have 128 characters, would pass the limit of 80."""
    assert "StateMachineName" not in properties(rendered, "Training")


def test_training_comes_before_promotion_and_every_end_is_told(states):
    assert states["Train"]["Next"] == "Promote"
    assert states["Promote"]["Next"] == "TellPromoted"
    assert states["CutOff"]["Default"] == "TellFailed"
    for step, after, end in (
        ("Train", "CutOff", "TellFailed"),
        ("Promote", "TellRefused", "TellRefused"),
    ):
        (caught,) = states[step]["Catch"]
        assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], after)
        assert states[states[end]["Next"]]["Type"] == "Fail"
        assert states[end]["Resource"] == "arn:${Partition}:states:::sns:publish"
        assert states[end]["Parameters"]["TopicArn"] == "${Topic}"


@pytest.mark.parametrize("step", ["Train", "Promote"])
def test_a_step_waits_for_its_container_and_not_for_ever(states, step):
    assert states[step]["Resource"] == "arn:${Partition}:states:::ecs:runTask.sync"
    assert 0 < states[step]["TimeoutSeconds"] <= 4 * 3600


def test_the_two_steps_speak_of_the_same_run(states, resources):
    (train,) = states["Train"]["Parameters"]["Overrides"]["ContainerOverrides"]
    (promote,) = states["Promote"]["Parameters"]["Overrides"]["ContainerOverrides"]
    assert train["Command.$"] == "States.Array('training_job', '--run', $$.Execution.Name)"
    assert promote["Command.$"] == (
        "States.Array('digits.cli', 'model', 'promote',"
        " States.Format('runs/{}', $$.Execution.Name), 's3://${ModelsBucket}')"
    )
    for task, override in (("TrainTask", train), ("PromoteTask", promote)):
        (container,) = properties(resources, task)["ContainerDefinitions"]
        assert container["Name"] == override["Name"]


def test_spare_capacity_that_is_taken_back_is_waited_for(states, rendered):
    """What becomes of it is in `tests/integration/test_training_machine.py`."""
    values = properties(rendered, "Training")["DefinitionSubstitutions"]
    assert values["CapacityProvider"] == {"Fn::If": ["OnSpot", "FARGATE_SPOT", "FARGATE"]}
    timeouts, others = states["Train"]["Retry"]
    assert (timeouts["ErrorEquals"], timeouts["MaxAttempts"]) == (["States.Timeout"], 0)
    assert others["ErrorEquals"] == ["States.ALL"]
    assert others["IntervalSeconds"] >= 60


def test_promotion_is_tried_again_after_a_transient_fault(states):
    (retry,) = states["Promote"]["Retry"]
    assert retry["ErrorEquals"] == ["States.ALL"]
    assert retry["MaxAttempts"] >= 2


def test_every_pair_of_cpu_and_memory_that_is_not_refused_is_one_of_fargates(template):
    parameters = template["Parameters"]
    pairs = product(parameters["Cpu"]["AllowedValues"], parameters["Memory"]["AllowedValues"])
    refused = {pair for pair in pairs if not allowed(template, *pair)}
    assert refused == {("8192", "8192")}
    for cpu, memory in product(*(parameters[it]["AllowedValues"] for it in ("Cpu", "Memory"))):
        assert (cpu, memory) in refused or int(memory) in FARGATE[cpu]
    assert allowed(template, parameters["Cpu"]["Default"], parameters["Memory"]["Default"])


def allowed(template: dict[str, Any], cpu: str, memory: str) -> bool:
    """Whether the template's rules let these be deployed."""
    values = {"Cpu": cpu, "Memory": memory}

    def holds(condition: dict[str, Any]) -> bool:
        left, right = (
            values.get(it["Ref"], it["Ref"]) if isinstance(it, dict) else it
            for it in condition["Fn::Equals"]
        )
        return bool(left == right)

    return all(
        holds(assertion["Assert"])
        for rule in template["Rules"].values()
        if mentions(rule, "Cpu") and holds(rule["RuleCondition"])
        for assertion in rule["Assertions"]
    )


def test_every_task_is_of_a_size_that_fargate_has(resources):
    task = properties(resources, "PromoteTask")
    assert int(task["Memory"]) in FARGATE[task["Cpu"]]


def test_the_two_subnets_are_in_two_zones(resources):
    zones = [
        properties(resources, name).get("AvailabilityZone") for name in ("Subnet", "OtherSubnet")
    ]
    assert zones == [{"Fn::Select": [number, {"Fn::GetAZs": ""}]} for number in (0, 1)]


def test_a_state_machine_that_is_traced_may_ask_what_to_sample(rendered):
    """X-Ray refuses it otherwise; this one is not traced, and so needs no right."""
    assert "TracingConfiguration" not in properties(rendered, "Training")
    assert not any(action.startswith("xray:") for action, _ in rights(rendered, "TrainingRole"))


def test_nothing_is_named_so_that_a_second_stack_or_region_collides(rendered):
    names = ("Name", "ClusterName", "RoleName", "RepositoryName", "LogGroupName", "TopicName")
    names += ("AlarmName", "GroupName", "Family", "StateMachineName", "DashboardName")
    for resource, it in rendered.items():
        assert not set(names) & set(it.get("Properties", {})), resource


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
