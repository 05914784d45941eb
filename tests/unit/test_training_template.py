"""Properties of `infra/training.yaml`: network isolation, least privilege, no idle cost."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.templates import (
    assert_definition_is_valid,
    assert_every_placeholder_is_substituted,
    assert_sam_validates,
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
# The memory sizes (MiB) of Fargate by CPU units:
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


def test_sam_validates_the_template():
    assert_sam_validates(TEMPLATE)


def test_the_training_definition_is_valid(tmp_path):
    assert_definition_is_valid(filled(), tmp_path)


def filled() -> dict[str, Any]:
    return steps(DEFINITION, Partition="aws")


def test_every_placeholder_of_the_training_definition_is_substituted(rendered):
    assert_every_placeholder_is_substituted(rendered, "Training", DEFINITION)


def test_no_arn_names_a_partition():
    assert "arn:aws" not in DEFINITION.read_text() + TEMPLATE.read_text()


def test_the_state_machine_has_no_fixed_name(rendered):
    """The stack's name may have 128 characters, but a state machine's at most 80."""
    assert "StateMachineName" not in properties(rendered, "Training")


def test_training_precedes_promotion_and_every_end_sends_a_notification(states):
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
def test_each_step_waits_for_its_container_with_a_timeout(states, step):
    assert states[step]["Resource"] == "arn:${Partition}:states:::ecs:runTask.sync"
    assert 0 < states[step]["TimeoutSeconds"] <= 4 * 3600


def test_training_and_promotion_use_the_same_run_name(states, resources):
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


def test_a_spot_interruption_is_retried_after_a_minute_or_more(states, rendered):
    """`tests/integration/test_training_machine.py` runs these steps without the delay."""
    values = properties(rendered, "Training")["DefinitionSubstitutions"]
    assert values["CapacityProvider"] == {"Fn::If": ["OnSpot", "FARGATE_SPOT", "FARGATE"]}
    timeouts, others = states["Train"]["Retry"]
    assert (timeouts["ErrorEquals"], timeouts["MaxAttempts"]) == (["States.Timeout"], 0)
    assert others["ErrorEquals"] == ["States.ALL"]
    assert others["IntervalSeconds"] >= 60


def test_every_allowed_pair_of_cpu_and_memory_exists_on_fargate(template):
    parameters = template["Parameters"]
    pairs = product(parameters["Cpu"]["AllowedValues"], parameters["Memory"]["AllowedValues"])
    refused = {pair for pair in pairs if not allowed(template, *pair)}
    assert refused == {("8192", "8192")}
    for cpu, memory in product(*(parameters[it]["AllowedValues"] for it in ("Cpu", "Memory"))):
        assert (cpu, memory) in refused or int(memory) in FARGATE[cpu]
    assert allowed(template, parameters["Cpu"]["Default"], parameters["Memory"]["Default"])


def allowed(template: dict[str, Any], cpu: str, memory: str) -> bool:
    """Return whether the template's rules allow this pair."""
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


def test_the_promotion_task_has_a_size_that_fargate_offers(resources):
    task = properties(resources, "PromoteTask")
    assert int(task["Memory"]) in FARGATE[task["Cpu"]]


def test_the_two_subnets_are_in_two_zones(resources):
    zones = [
        properties(resources, name).get("AvailabilityZone") for name in ("Subnet", "OtherSubnet")
    ]
    assert zones == [{"Fn::Select": [number, {"Fn::GetAZs": ""}]} for number in (0, 1)]


def test_the_untraced_state_machine_has_no_rights_of_xray(rendered):
    """Only a traced state machine needs rights of X-Ray."""
    assert "TracingConfiguration" not in properties(rendered, "Training")
    assert not any(action.startswith("xray:") for action, _ in rights(rendered, "TrainingRole"))


def test_no_resource_of_the_training_stack_has_a_fixed_name(rendered):
    names = ("Name", "ClusterName", "RoleName", "RepositoryName", "LogGroupName", "TopicName")
    names += ("AlarmName", "GroupName", "Family", "StateMachineName", "DashboardName")
    for resource, it in rendered.items():
        assert not set(names) & set(it.get("Properties", {})), resource


def test_the_environment_of_the_job_has_only_settings_that_it_reads(resources):
    (container,) = properties(resources, "TrainTask")["ContainerDefinitions"]
    known = {option.envvar for option in typer_options()}
    given = {item["Name"] for item in container["Environment"]}
    assert given <= known
    assert {"DIGITS_MODELS", "DIGITS_PROMOTE"} <= given


def typer_options() -> list[Any]:
    import typer.main

    return list(typer.main.get_command(app).params)


def test_the_security_group_allows_only_outgoing_tls(resources):
    group = properties(resources, "NoWayIn")
    assert group["SecurityGroupIngress"] == []
    (out,) = group["SecurityGroupEgress"]
    assert (out["FromPort"], out["ToPort"]) == (443, 443)


def test_no_resource_costs_money_while_idle(resources):
    dear = {"AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::ElasticLoadBalancingV2::LoadBalancer"}
    dear |= {"AWS::ECS::Service"}
    assert not dear & {it["Type"] for it in resources.values()}
    for endpoint in of_type(resources, "AWS::EC2::VPCEndpoint").values():
        assert endpoint["VpcEndpointType"] == "Gateway"


def test_no_network_is_created_for_given_subnets(resources):
    for name, it in resources.items():
        if it["Type"].startswith("AWS::EC2::") and it["Type"] != "AWS::EC2::SecurityGroup":
            assert it["Condition"] == "OwnNetwork", name


def test_the_schedule_is_disabled_by_default(template, resources):
    assert template["Parameters"]["ScheduleState"]["Default"] == "DISABLED"
    assert properties(resources, "Schedule")["State"] == {"Ref": "ScheduleState"}


def test_the_job_may_access_only_models_runs_and_checkpoints(resources):
    assert rights(resources, "TaskRole") == {
        *((action, f"{S3}/{prefix}/*")
          for action in ("s3:GetObject", "s3:PutObject")
          for prefix in ("models", "runs", "checkpoints")),
        ("s3:ListBucket", S3),
    }  # fmt: skip


def test_the_state_machine_may_run_only_its_tasks_and_pass_only_their_roles(resources):
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
def test_no_role_has_a_wildcard_action_or_resource(resources, role):
    for action, resource in rights(resources, role):
        assert "*" not in action
        assert resource != "*" or action == "ecr:GetAuthorizationToken"


def test_logs_expire(template, resources):
    for logs in of_type(resources, "AWS::Logs::LogGroup").values():
        assert logs["RetentionInDays"]["Fn::FindInMap"][0] == "ByStage"


def test_every_substituted_name_exists_in_the_template(template, resources):
    named = set(re.findall(r"\$\{([A-Za-z]+)[.}]", TEMPLATE.read_text()))
    assert named <= set(resources) | set(template["Parameters"])


def test_every_parameter_has_a_description(template):
    for name, it in template["Parameters"].items():
        assert it["Description"], name
