"""Alarms and dashboard: each alarm notifies the operator and is documented."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.templates import Stack
from tests.templates import load, of_type, properties

ROOT = Path(__file__).parents[2]
TEMPLATE = load(ROOT / "template.yaml")
RESOURCES = TEMPLATE["Resources"]
ALARMS = of_type(RESOURCES, "AWS::CloudWatch::Alarm")


def own_metrics(value: Any) -> set[str]:
    """Return the names of our own metrics in part of a template."""
    if isinstance(value, list):
        return set().union(*map(own_metrics, value), set())
    if not isinstance(value, dict):
        return set()
    own = {value["MetricName"]} if value.get("Namespace") == "Digits" else set()
    return own.union(*map(own_metrics, value.values()), set())


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_notifies_of_start_and_end_but_not_of_missing_data(name):
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"]
    assert alarm["AlarmActions"]["Fn::If"][:2] == ["HasAlarmEmail", [{"Ref": "AlarmTopic"}]]
    assert alarm["TreatMissingData"] == "notBreaching"
    assert len(alarm["AlarmDescription"]) > 30


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_stays_within_the_limits_of_cloudwatch(name):
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html"""
    alarm = ALARMS[name]
    metrics = alarm.get("Metrics", [])
    assert len([it for it in metrics if "MetricStat" in it]) <= 10
    assert len([it for it in metrics if it.get("ReturnData", True)]) == (1 if metrics else 0)
    periods = {it["MetricStat"]["Period"] for it in metrics if "MetricStat" in it}
    (period,) = periods or {alarm["Period"]}
    assert period * alarm["EvaluationPeriods"] <= 24 * 3600


def test_every_alarm_is_documented_and_on_the_dashboard():
    chapters = re.findall(r"^### (\w+)$", (ROOT / "docs/operations.md").read_text(), re.M)
    assert sorted(chapters) == sorted(ALARMS)
    _, parts = properties(RESOURCES, "Dashboard")["DashboardBody"]["Fn::Sub"]
    assert {it["Fn::If"][0] for it in parts.values()} == {"HasMetricMathAlarms", "HasSweep"}
    for values in (
        {},
        {"MetricMathAlarms": "true"},
        {"SweepSchedule": "rate(1 day)"},
        {"MetricMathAlarms": "true", "SweepSchedule": "rate(1 day)"},
    ):
        stack = Stack(TEMPLATE, values)
        body = json.loads(stack.value(properties(RESOURCES, "Dashboard")["DashboardBody"]))
        (shown,) = (it["properties"]["alarms"] for it in body["widgets"] if it["type"] == "alarm")
        there = of_type(stack.resources(), "AWS::CloudWatch::Alarm")
        assert sorted(shown) == sorted(f"<{name}.Arn>" for name in there)


def test_alarms_and_dashboard_watch_metrics_that_the_functions_emit():
    sources = "".join(path.read_text() for path in (ROOT / "lambda_predict").glob("*.py"))
    emitted = set(re.findall(r'(?:add_metric|single_metric)\(\s*"(\w+)"', sources))
    assert 'f"Digit{digit.digit}"' in sources
    emitted |= {f"Digit{digit}" for digit in range(10)}
    dashboard = properties(RESOURCES, "Dashboard")["DashboardBody"]["Fn::Sub"][0]
    drawn = set(re.findall(r'\["Digits", "(\w+)"', dashboard))
    watched = own_metrics(ALARMS)
    assert watched
    assert (watched | drawn) <= emitted


@pytest.mark.parametrize("name", ["HttpApiDigitMixAlarm", "S3LabelsDigitMixAlarm"])
def test_the_digit_mix_is_the_distance_between_two_distributions(name):
    """Total variation distance in percent, evaluated as CloudWatch does."""
    (shift, n, *counts) = ALARMS[name]["Metrics"]
    expression, shares = shift["Expression"]["Fn::Sub"]
    assert [shares[f"p{d}"] for d in range(10)] == [
        {"Fn::Select": [d, {"Ref": "DigitMix"}]} for d in range(10)
    ]
    assert n["Expression"] == "SUM(FILL(METRICS(), 0))"
    assert {it["Id"]: it["MetricStat"]["Metric"]["MetricName"] for it in counts} == {
        f"d{d}": f"Digit{d}" for d in range(10)
    }

    def distance(counted: list[int]) -> float:
        names = {f"d{d}": counted[d] for d in range(10)} | {"n": sum(counted)}
        functions = {
            "IF": lambda yes, this, that: this if yes else that,
            "ABS": abs,
            "FILL": lambda value, _: value,
        }
        text = re.sub(r"\$\{p\d\}", "0.1", expression)
        return eval(text, {"__builtins__": {}}, names | functions)

    assert distance([100] * 10) == pytest.approx(0)
    assert distance([1000] + [0] * 9) == pytest.approx(90)
    assert distance([150] * 5 + [50] * 5) == pytest.approx(25)
    assert distance([10] + [1] * 9) == 0, "below the minimum count"


def test_a_budget_is_created_only_with_an_email_address():
    template = load(ROOT / "template.yaml")
    assert RESOURCES["Budget"]["Condition"] == "HasBudget"
    assert {"Condition": "HasAlarmEmail"} in template["Conditions"]["HasBudget"]["Fn::And"]
