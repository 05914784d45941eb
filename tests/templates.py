"""Load, render and inspect CloudFormation templates."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.templates import load  # noqa: F401 - imported from here by tests
from tests.conftest import require, skip_or_fail

ROOT = Path(__file__).parents[1]
SAM = ROOT / ".venvs/sam/bin/sam"

# SAM's transform, run in its own environment, because it pins boto3.
_RENDER = """
import json, sys
import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

template = yaml_parse(open(sys.argv[1]).read())
# `sam deploy` replaces local paths by addresses of uploads.
template.get("Globals", {}).get("Function", {})["CodeUri"] = "s3://bucket/key"
for it in template["Resources"].values():
    if "DefinitionUri" in it.get("Properties", {}):
        it["Properties"]["DefinitionUri"] = "s3://bucket/key"
values = {name: str(it.get("Default", "")) for name, it in template["Parameters"].items()}
values.update(json.loads(sys.argv[2]))
session = boto3.Session(region_name="eu-west-1")
rendered = Translator({}, Parser(), boto_session=session).translate(template, values)
json.dump(rendered["Resources"], sys.stdout)
"""


# The local cloud's evaluator of IAM policies with conditions, run in its own environment.
_DECIDE = """
import json, sys
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

given = json.load(sys.stdin)
policies = [parse_policy_document(it) for it in given["policies"]]
role = "arn:aws:sts::123456789012:assumed-role/role/session"

def decision(action, resource, keys, secure):
    return evaluate(
        EvalContext(
            *(role, "AssumedRole", "123456789012", action, resource, "us-east-1"),
            secure_transport=secure, service_context=keys,
        ),
        policies,
    ).decision

json.dump([decision(*it) for it in given["requests"]], sys.stdout)
"""


def render(template: Path = ROOT / "template.yaml", **parameters: str) -> dict[str, Any]:
    """Run SAM's transform and return the resources that CloudFormation gets."""
    for name in ("sam", "local-cloud"):
        python = ROOT / ".venvs" / name / "bin" / "python"
        if python.exists():
            break
    else:
        skip_or_fail("SAM's transform is not installed: run `make setup`")
    done = subprocess.run(
        [python, "-c", _RENDER, template, json.dumps(parameters)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    resources: dict[str, Any] = json.loads(done.stdout)
    return resources


def evaluate_policies(
    policies: list[dict[str, Any]],
    requests: Iterable[tuple[str, str, dict[str, str]]],
    *,
    secure: bool = True,
) -> list[str]:
    """Evaluate requests of a role with these policies; return Allow, Deny or ImplicitDeny for each.

    A request is an action, a resource's ARN, and the condition keys that the service sets.
    """
    python = ROOT / ".venvs/local-cloud/bin/python"
    require(str(python))
    given = {"policies": policies, "requests": [(*it, secure) for it in requests]}
    done = subprocess.run(
        [python, "-c", _DECIDE],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    decisions: list[str] = json.loads(done.stdout)
    return decisions


def resolved(value: Any, arns: Mapping[str, str]) -> Any:
    """Replace references to resources in part of a template by their ARNs."""
    if isinstance(value, list):
        return [resolved(item, arns) for item in value]
    if not isinstance(value, dict):
        return value
    if "Fn::GetAtt" in value:
        return arns[as_list(value["Fn::GetAtt"])[0]]
    if "Fn::Sub" in value:
        return re.sub(r"\$\{(\w+)\.Arn\}", lambda it: arns[it[1]], value["Fn::Sub"])
    return {name: resolved(item, arns) for name, item in value.items()}


def properties(resources: dict[str, Any], name: str) -> dict[str, Any]:
    return resources[name]["Properties"]


def of_type(resources: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: it.get("Properties", {}) for name, it in resources.items() if it["Type"] == kind}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def mentions(value: Any, name: str) -> bool:
    """Return whether `value` refers to the resource or parameter `name`."""
    if isinstance(value, dict):
        if value.get("Ref") == name or as_list(value.get("Fn::GetAtt"))[0] == name:
            return True
        return any(mentions(item, name) for item in value.values())
    if isinstance(value, list):
        return any(mentions(item, name) for item in value)
    return isinstance(value, str) and (f"${{{name}}}" in value or f"${{{name}." in value)


def statements(resources: dict[str, Any], role: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in properties(resources, role)["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def rights(resources: dict[str, Any], role: str) -> set[tuple[str, str]]:
    """Return each (action, resource) that the role is allowed."""

    def text(resource: Any) -> str:
        if isinstance(resource, str):
            return resource
        if "Fn::GetAtt" in resource:
            return ".".join(resource["Fn::GetAtt"])
        if "Ref" in resource:
            return str(resource["Ref"])
        return str(resource["Fn::Sub"]).replace("${", "").replace("}", "")

    return {
        (action, text(resource))
        for statement in statements(resources, role)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def steps(definition: Path, **values: Any) -> dict[str, Any]:
    """Substitute `values` in a state machine's file; a name without value stands for itself."""
    text = re.sub(r"\$\{(\w+)\}", lambda it: str(values.get(it[1], it[1])), definition.read_text())
    filled: dict[str, Any] = json.loads(text)
    return filled


def assert_every_placeholder_is_substituted(
    rendered: dict[str, Any], name: str, definition: Path
) -> None:
    """Check that the template substitutes exactly the placeholders of the definition."""
    assert rendered[name]["Type"] == "AWS::StepFunctions::StateMachine"
    machine = properties(rendered, name)
    assert set(machine["DefinitionS3Location"]) == {"Bucket", "Key"}
    open_names = set(re.findall(r"\$\{(\w+)\}", definition.read_text()))
    assert open_names == set(machine["DefinitionSubstitutions"])


def assert_definition_is_valid(filled: dict[str, Any], folder: Path) -> None:
    """Validate a definition inside a template, because the linter does not read separate files."""
    machine = {"RoleArn": "arn:aws:iam::123456789012:role/it", "Definition": filled}
    resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine}
    template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": {"Machine": resource}}
    (folder / "template.yaml").write_text(yaml.safe_dump(template))
    assert_sam_validates(folder / "template.yaml")


def assert_sam_validates(template: Path) -> None:
    require(str(SAM))
    done = subprocess.run(
        [SAM, "validate", "--lint", "--template", template],
        env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
