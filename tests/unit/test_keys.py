"""The commands of `docs/keys.md` are ones that AWS knows, and do what is said of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.stub import Stubber
from moto import mock_aws

DOCS = Path(__file__).parents[2] / "docs" / "keys.md"
COMMAND = re.compile(r"aws apigateway [^)\n]+")


def commands() -> list[list[str]]:
    return [shlex.split(found)[2:] for found in COMMAND.findall(DOCS.read_text())]


def named(name: str) -> list[str]:
    (command,) = (it for it in commands() if it[0] == name)
    return command


def value(text: str) -> Any:
    """What the command line's shorthand ``a=1,b=c`` says."""
    if "=" not in text:
        return text
    pairs = dict(pair.split("=", 1) for pair in text.split(","))
    return {name: int(it) if it.isdigit() else it for name, it in pairs.items()}


def call(client: Any, command: list[str], **known: str) -> Any:
    """Make the call that `command` makes; botocore refuses one that AWS does not know."""
    name, *rest = command
    operation = next(
        it for it in client.meta.service_model.operation_names if xform_name(it, "-") == name
    )
    members = client.meta.service_model.operation_model(operation).input_shape.members
    options: dict[str, Any] = {}
    while rest:
        option = rest.pop(0).removeprefix("--")
        given = rest.pop(0) if rest and not rest[0].startswith("--") else True
        if option in ("query", "output"):
            continue
        member = next(it for it in members if xform_name(it, "-") == option)
        if isinstance(given, str):
            for variable, it in known.items():
                given = given.replace(f"${variable}", it)
            given = value(given)
        options[member] = [given] if members[member].type_name == "list" else given
    return getattr(client, xform_name(operation))(**options)


@pytest.fixture
def gateway():
    with mock_aws():
        yield boto3.client("apigateway")


@pytest.fixture
def plan(gateway):
    return gateway.create_usage_plan(name="digits")["id"]


def test_a_client_is_given_a_key_of_the_plan(gateway, plan):
    assert plan in {it["id"] for it in call(gateway, named("get-usage-plans"))["items"]}
    key = call(gateway, named("create-api-key"))["id"]
    call(gateway, named("create-usage-plan-key"), PLAN=plan, KEY=key)
    (listed,) = gateway.get_usage_plan_keys(usagePlanId=plan)["items"]
    shown = call(gateway, named("get-api-key"), KEY=key)
    assert shown["enabled"] is True
    assert (listed["id"], listed["value"]) == (key, shown["value"])


def test_an_old_key_is_switched_off_and_then_deleted(gateway):
    key = call(gateway, named("create-api-key"))["id"]
    call(gateway, named("update-api-key"), KEY=key)
    assert gateway.get_api_key(apiKey=key)["enabled"] in (False, "false")
    call(gateway, named("delete-api-key"), KEY=key)
    assert gateway.get_api_keys()["items"] == []


def test_a_client_may_have_a_plan_of_its_own(gateway):
    api = gateway.create_rest_api(name="digits")["id"]
    own = call(gateway, named("create-usage-plan"), API=api)
    assert own["throttle"] == {"rateLimit": 50.0, "burstLimit": 100}
    assert own["quota"] == {"limit": 100000, "period": "DAY"}
    assert own["apiStages"] == [{"apiId": api, "stage": "v1"}]


def test_who_still_uses_an_old_key_can_be_seen():
    client = boto3.client("apigateway")
    days = {"startDate": "2026-11-01", "endDate": "2026-11-30"}
    with Stubber(client) as stub:  # moto has no usage
        stub.add_response("get_usage", {}, {"usagePlanId": "plan", "keyId": "key"} | days)
        call(client, named("get-usage"), PLAN="plan", KEY="key")
        stub.assert_no_pending_responses()
