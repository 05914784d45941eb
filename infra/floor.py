"""Estimate the monthly cost of an idle serving stack from its template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from digits.errors import ImageError
from infra.templates import SERVING, Stack, load

# US dollars in us-east-1, without free tiers; docs/aws.md names the source of each price.
ALARM_METRIC = 0.10  # a month, for each metric that an alarm watches
DASHBOARD = 3.00  # a month, of more than DASHBOARD_METRICS, or the account's fourth
DASHBOARD_METRICS = 50
SQS_REQUEST = 0.40e-6
SNAPSHOT_GB_SECOND = 0.0000015046
FIREWALL, FIREWALL_RULE = 5.00, 1.00  # a month

SECONDS = 30 * 24 * 3600  # of a month
# Lambda polls an empty queue with five long polls of 20 seconds at once, also with limited
# concurrency: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html and
# https://github.com/getlift/lift/issues/132 (15 empty answers a minute).
POLLS_OF_A_QUEUE = 5 * SECONDS / 20


def monthly(parameters: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the monthly US dollars of an idle stack with these parameters, by item."""
    template = load(SERVING)
    stack = Stack(template, parameters)
    resources = stack.resources()
    memory = template["Globals"]["Function"]["MemorySize"] / 1024
    functions = [it for it in resources.values() if it["Type"] == "AWS::Serverless::Function"]
    queues = [
        event
        for it in functions
        for event in it["Properties"].get("Events", {}).values()
        if event["Type"] == "SQS"
    ]
    snapshots = [it for it in functions if "PublishedVersions" in _snap_start(stack, it)]
    lines = {
        "alarms": ALARM_METRIC * sum(watched(it) for it in resources.values()),
        "SQS, polled by Lambda": len(queues) * POLLS_OF_A_QUEUE * SQS_REQUEST,
        "dashboard": DASHBOARD * (drawn(stack) > DASHBOARD_METRICS),
        "SnapStart": len(snapshots) * memory * SECONDS * SNAPSHOT_GB_SECOND,
        "firewall": sum(_firewall(it) for it in resources.values()),
    }
    return {name: dollars for name, dollars in lines.items() if dollars}


def watched(resource: Mapping[str, Any]) -> int:
    """Count the metrics of an alarm; 0 for another resource."""
    if resource["Type"] != "AWS::CloudWatch::Alarm":
        return 0
    metrics: list[Any] | None = resource["Properties"].get("Metrics")
    return len([it for it in metrics if "MetricStat" in it]) if metrics else 1


def drawn(stack: Stack) -> int:
    """Count the dashboard's metrics, with those that its search for errors by code can find."""
    body = stack.value(stack.resources()["Dashboard"]["Properties"]["DashboardBody"])
    lines = len(re.findall(r'\["(?:AWS/|Digits|\.)', body))
    codes, functions = len(ImageError.__subclasses__()), 2
    searches: int = body.count("SEARCH(")
    return lines + codes * functions * searches


def _snap_start(stack: Stack, function: Mapping[str, Any]) -> str:
    return str(stack.value(function["Properties"].get("SnapStart", {})))


def _firewall(resource: Mapping[str, Any]) -> float:
    if resource["Type"] != "AWS::WAFv2::WebACL":
        return 0.0
    return FIREWALL + FIREWALL_RULE * len(resource["Properties"]["Rules"])
