"""Read CloudFormation templates, and evaluate them for one stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SERVING = Path(__file__).parents[1] / "template.yaml"
ACCOUNT = "123456789012"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags: ``!Ref X`` is ``{"Ref": "X"}``."""


def _function(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    if name == "GetAtt":
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _function)


def load(path: Path) -> dict[str, Any]:
    """Load the template in `path`, with each short tag as the function that it stands for."""
    loaded: dict[str, Any] = yaml.load(path.read_text(), _Loader)  # noqa: S506 - a SafeLoader
    return loaded


class Stack:
    """One stack of a template: its resources, and the values of their properties.

    Parameters
    ----------
    template
        What `load` returned; its resources may be those of SAM's transform.
    parameters
        Values that are not the template's defaults.
    name, region, partition
        Of the stack.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        parameters: Mapping[str, str] | None = None,
        *,
        name: str = "digits",
        region: str = "us-east-1",
        partition: str = "aws",
    ) -> None:
        self._template = template
        defaults = {key: it.get("Default", "") for key, it in template["Parameters"].items()}
        pseudo = {
            "AWS::StackName": name,
            "AWS::Region": region,
            "AWS::Partition": partition,
            "AWS::AccountId": ACCOUNT,
            "AWS::URLSuffix": "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com",
            "AWS::NoValue": None,
        }
        self._values = {**defaults, **(parameters or {}), **pseudo}

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the resources whose condition is true, as in the template."""
        return {
            name: it
            for name, it in self._template["Resources"].items()
            if "Condition" not in it or self.holds(it["Condition"])
        }

    def holds(self, condition: str) -> bool:
        """Whether a condition of the template is true."""
        return bool(self.value(self._template["Conditions"][condition]))

    def broken_rules(self) -> list[str]:
        """Return the messages of the template's rules that the parameters violate."""
        return [
            assertion["AssertDescription"]
            for rule in self._template.get("Rules", {}).values()
            if self.value(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.value(assertion["Assert"])
        ]

    def value(self, node: Any) -> Any:
        """Evaluate a property; a resource or an attribute becomes its name in angle brackets."""
        if isinstance(node, list):
            return [self.value(it) for it in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, given),) = node.items()
            if name == "Condition" and isinstance(given, str):
                return self.holds(given)
            if name == "Ref" or name.startswith("Fn::"):
                return self._called(name.removeprefix("Fn::"), given)
        return {key: self.value(it) for key, it in node.items()}

    def _called(self, function: str, given: Any) -> Any:  # noqa: PLR0911 - one for each function
        match function:
            case "Ref":
                return self._named(given)
            case "GetAtt":
                return f"<{'.'.join(given)}>"
            case "Sub":
                text, own = given if isinstance(given, list) else (given, {})
                own = {key: self.value(it) for key, it in own.items()}
                return re.sub(
                    r"\$\{([\w:.]+)\}", lambda it: str(own.get(it[1], self._named(it[1]))), text
                )
            case "FindInMap":
                table, row, column = self.value(given)
                return self._template["Mappings"][table][row][column]
            case "If":
                condition, then, otherwise = given
                return self.value(then if self.holds(condition) else otherwise)
            case "Equals":
                first, second = self.value(given)
                return str(first) == str(second)
            case "Not":
                return not self.value(given)[0]
            case "And":
                return all(self.value(given))
            case "Select":
                number, items = self.value(given)
                return (items.split(",") if isinstance(items, str) else items)[int(number)]
            case _:
                raise NotImplementedError(f"Fn::{function}")

    def _named(self, name: str) -> Any:
        return self._values.get(name, f"<{name}>")
