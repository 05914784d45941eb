"""What a deployment meets only on AWS: limits, prices, name conflicts, abuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from infra import deploy, floor
from infra.templates import Stack, load
from tests.templates import mentions, of_type, properties, render, rights

ROOT = Path(__file__).parents[2]
TEMPLATE = load(ROOT / "template.yaml")
FUNCTIONS = of_type(TEMPLATE["Resources"], "AWS::Serverless::Function")
# Every option on, so that the template creates all its resources.
ALL = {
    "SnapStart": "PublishedVersions",
    "SweepSchedule": "rate(1 day)",
    "AlarmEmail": "me@example.com",
    "MetricMathAlarms": "true",
    "MonthlyBudget": "20",
    "CanaryDeployment": "true",
    "Waf": "true",
    "ReservedConcurrency": "5",
    "AccessLogs": "true",
}
NEW_ACCOUNT = 10  # concurrent executions of all functions together


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    return render()


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """Return the template with every option on, after SAM's transform."""
    return {**TEMPLATE, "Resources": render(**ALL)}


# --- Names ---

# Properties that end in Name but are unique within their parent, or name something else.
SCOPED = {
    ("AWS::Lambda::Alias", "Name"),
    ("AWS::ApiGateway::Stage", "StageName"),
    ("AWS::CloudWatch::Alarm", "MetricName"),
    ("AWS::CodeDeploy::DeploymentGroup", "DeploymentConfigName"),  # AWS's own
}
GLOBAL = ("AWS::IAM::", "AWS::S3::", "AWS::Budgets::", "AWS::CloudWatch::Dashboard")


def names(template: dict[str, Any], **where: str) -> set[tuple[str, str]]:
    """Return type and value of each name that the template sets instead of CloudFormation."""
    stack = Stack(template, ALL, **where)
    found = set()
    for it in stack.resources().values():
        given = {
            key: stack.value(value)
            for key, value in it.get("Properties", {}).items()
            if key.endswith("Name") and (it["Type"], key) not in SCOPED
        }
        if it["Type"] == "AWS::WAFv2::WebACL":
            seen = [it["Properties"], *it["Properties"]["Rules"]]
            given |= {
                n: stack.value(rule["VisibilityConfig"]["MetricName"])
                for n, rule in enumerate(seen)
            }
        if it["Type"] == "AWS::Lambda::Function":
            variables = it["Properties"]["Environment"]["Variables"]
            given["service"] = stack.value(variables["POWERTOOLS_SERVICE_NAME"])
        found |= {(it["Type"], name) for name in given.values() if not name.startswith("<")}
    return found


def test_stacks_of_two_regions_or_stages_share_no_name(whole):
    here = names(whole, name="digits", region="eu-west-1")
    assert len(here) >= 12
    assert here & names(whole, name="digits-prod", region="eu-west-1") == set()
    there = names(whole, name="digits", region="us-east-1")
    assert {it for it in here & there if it[0].startswith(GLOBAL)} == set()


def test_the_longest_allowed_stack_name_keeps_every_name_within_its_limit(whole):
    limits = {  # https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html
        "AWS::StepFunctions::StateMachine": 80,
        "AWS::WAFv2::WebACL": 128,
        "AWS::CloudWatch::Dashboard": 255,
    }

    def too_long(length: int) -> set[str]:
        given = names(whole, name="d" * length, region="ap-southeast-1")
        return {kind for kind, name in given if len(name) > limits.get(kind, 255)}

    assert too_long(deploy.LONGEST_NAME) == set()
    assert too_long(deploy.LONGEST_NAME + 1)


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("aws-cn", "cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("aws-us-gov", "us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_addresses_and_arns_are_those_of_the_partition(partition, region, host):
    stack = Stack(TEMPLATE, ALL, partition=partition, region=region)
    assert f"https://{host}/" in stack.value(TEMPLATE["Outputs"]["DashboardUrl"]["Value"])
    arns = re.findall(r"arn:[^:\s]*:", str(stack.value(TEMPLATE["Resources"])))
    assert set(arns) == {f"arn:{partition}:"}


# --- Deployments ---


def test_functions_have_no_property_that_changes_without_a_new_version(rendered):
    """SAM's version is a digest of all properties, also of those that are not part of a version."""
    for name in FUNCTIONS:
        function = properties(render(SweepSchedule="rate(1 day)"), name)
        assert [it["Key"] for it in function["Tags"]] == ["lambda:createdBy"], "SAM's own"
        assert ("ReservedConcurrentExecutions" in function) == (name == "HttpApiFunction")
    text = (ROOT / "docs/aws.md").read_text()
    assert "A version for this Lambda function exists" in text, "the remaining case is documented"


def test_a_failed_first_deployment_deletes_its_stack():
    config = (ROOT / "samconfig.toml").read_text()
    deployment = config.partition("[default.deploy.parameters]")[2]
    assert 'on_failure = "DELETE"' in deployment


def test_samconfig_sets_no_stack_name():
    assert not re.search("^stack_name", (ROOT / "samconfig.toml").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("budget", "email", "count"), [("0", "", 0), ("20", "", 1), ("20", "me@example.com", 0)]
)
def test_a_budget_without_an_email_address_is_refused(budget, email, count):
    broken = Stack(TEMPLATE, {"MonthlyBudget": budget, "AlarmEmail": email}).broken_rules()
    assert len(broken) == count
    assert all("AlarmEmail" in it for it in broken)


def test_a_traced_state_machine_may_read_sampling_rules():
    """https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html"""
    resources = TEMPLATE["Resources"]
    traced = [
        it["Role"]["Fn::GetAtt"][0]
        for it in of_type(resources, "AWS::Serverless::StateMachine").values()
        if it.get("Tracing", {}).get("Enabled")
    ]
    assert traced == ["BackfillMachineRole"]
    for role in traced:
        allowed = {action for action, _ in rights(resources, role)}
        assert {"xray:GetSamplingRules", "xray:GetSamplingTargets"} <= allowed


# --- Limits ---


def test_labelling_leaves_concurrency_to_the_api_in_a_new_account(rendered):
    stack = Stack(TEMPLATE)
    bounds = [
        int(stack.value(it["ScalingConfig"]["MaximumConcurrency"]))
        for it in of_type(rendered, "AWS::Lambda::EventSourceMapping").values()
    ]
    backfill = int(stack.value({"Ref": "BackfillConcurrency"}))
    assert len(bounds) == 2
    assert NEW_ACCOUNT - sum(bounds) - backfill >= 4
    parameter = TEMPLATE["Parameters"]["LabelConcurrency"]
    assert (parameter["MinValue"], parameter["MaxValue"]) == (2, 1000), (
        "the range that Lambda accepts"
    )
    assert "10 functions at once" in (ROOT / "docs/aws.md").read_text()


def test_throttled_deliveries_do_not_become_dead_letters_within_an_hour(rendered):
    queue = properties(rendered, "RetryQueue")
    assert queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] >= 3600
    first = properties(rendered, "LabelsQueue")["RedrivePolicy"]
    assert first["maxReceiveCount"] == 1, "or a slow image is retried with its whole batch"


def test_the_throttles_alarm_watches_every_function_that_callers_wait_for():
    alarm = properties(TEMPLATE["Resources"], "ThrottlesAlarm")
    for name in ("HttpApiFunction", "S3LabelsFunction", "BackfillFunction"):
        assert mentions(alarm["Metrics"], name)


# --- Costs ---


def test_only_the_api_function_uses_snapstart_and_not_by_default(whole):
    assert TEMPLATE["Parameters"]["SnapStart"]["Default"] == "None"
    snapped = {
        name
        for name, it in of_type(whole["Resources"], "AWS::Lambda::Function").items()
        if "SnapStart" in it
    }
    assert snapped == {"HttpApiFunction"}
    assert properties(whole["Resources"], "HttpApiFunction")["SnapStart"] == {
        "ApplyOn": {"Ref": "SnapStart"}
    }


def test_an_idle_stack_costs_two_dollars_a_month_at_most():
    lines = floor.monthly()
    total = sum(lines.values())
    assert 0 < total <= 2
    for document, sentence in (
        ("docs/aws.md", f"**{total:.2f}**"),
        ("docs/costs.md", f"costs {total:.2f} "),
    ):
        assert sentence in (ROOT / document).read_text(), document
    assert set(lines) == {"alarms", "SQS, polled by Lambda"}


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("SnapStart", "PublishedVersions"),
        ("MetricMathAlarms", "true"),
        ("Waf", "true"),
        ("SweepSchedule", "rate(1 day)"),
        ("CanaryDeployment", "true"),
    ],
)
def test_the_documented_cost_of_each_option_is_that_of_the_template(switch, value):
    more = sum(floor.monthly({switch: value}).values()) - sum(floor.monthly().values())
    (documented,) = re.findall(
        rf"^\| `{switch}=[^|]*\| ([\d.]+)", (ROOT / "docs/aws.md").read_text(), re.M
    )
    assert more == pytest.approx(float(documented), abs=0.005)


def test_a_refused_model_raises_an_alarm_by_default():
    alarms = of_type(Stack(TEMPLATE).resources(), "AWS::CloudWatch::Alarm")
    watching = [it for it in alarms.values() if it.get("MetricName") == "ModelRefreshFailed"]
    services = [Stack(TEMPLATE).value(it["Dimensions"][0]["Value"]) for it in watching]
    assert services == ["digits-http-api", "digits-s3-labels"]
    assert not [it for it in alarms.values() if "Metrics" in it], (
        "alarms on several metrics cost more"
    )


@pytest.mark.parametrize("parameters", [{}, ALL])
def test_the_dashboard_draws_no_more_metrics_than_are_free(parameters):
    assert 20 < floor.drawn(Stack(TEMPLATE, parameters)) <= floor.DASHBOARD_METRICS


def test_digit_metrics_are_emitted_only_where_an_alarm_reads_them(rendered):
    written = {
        name: properties(rendered, name)["Environment"]["Variables"]["DIGITS_DIGIT_METRICS"]
        for name in ("HttpApiFunction", "S3LabelsFunction", "BackfillFunction")
    }
    follow = {"Ref": "MetricMathAlarms"}
    assert written == {
        "HttpApiFunction": follow,
        "S3LabelsFunction": follow,
        "BackfillFunction": "false",
    }


# --- Abuse ---


def test_docs_and_openapi_are_throttled_to_one_request_a_second(rendered):
    (stage,) = of_type(rendered, "AWS::ApiGateway::Stage").values()
    throttled = {
        (it["ResourcePath"].replace("~1", "/"), it["HttpMethod"]): it
        for it in stage["MethodSettings"]
    }
    assert set(throttled) == {("/*", "*"), ("//docs", "GET"), ("//openapi.json", "GET")}
    for (path, _), it in throttled.items():
        if path != "/*":
            assert it["ThrottlingRateLimit"] == 1
            assert it["ThrottlingBurstLimit"] <= 5


def test_the_api_compresses_answers_above_four_kibibytes(rendered):
    assert properties(rendered, "Api")["MinimumCompressionSize"] <= 4096


def test_the_scope_of_the_throttle_is_documented():
    description = TEMPLATE["Parameters"]["ThrottleRate"]["Description"]
    assert "each method of each path" in " ".join(description.split())
    assert "each method of each path" in " ".join((ROOT / "docs/keys.md").read_text().split())
