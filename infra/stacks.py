"""Shared by the deployment commands: errors of one line, parameters, the state of a stack."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from rich.console import Console

from digits.errors import DigitsError
from infra.templates import load

# States in which a stack cannot be deployed, each with the command that ends it.
WAYS_OUT = {
    "CREATE_FAILED": "delete-stack",
    "ROLLBACK_FAILED": "delete-stack",
    "DELETE_FAILED": "delete-stack",
    "UPDATE_ROLLBACK_FAILED": "continue-update-rollback",
}


class CannotBeDone(Exception):
    """A command cannot proceed; the message says in one line what to do."""


def described(stack: str) -> dict[str, Any]:
    """Return CloudFormation's description of a stack by name or id; empty if there is none."""
    try:
        answer: Any = boto3.client("cloudformation").describe_stacks(StackName=stack)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return {}
    found: dict[str, Any] = answer["Stacks"][0]
    return found


def changes_not_made(stack: str) -> set[str]:
    """Return the stack's change sets that are not executed."""
    if not described(stack):
        return set()
    pages = boto3.client("cloudformation").get_paginator("list_change_sets")
    return {
        it["ChangeSetId"]
        for page in pages.paginate(StackName=stack)
        for it in page["Summaries"]
        if it["ExecutionStatus"] == "AVAILABLE"
    }


def parameters(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a described stack."""
    return {it["ParameterKey"]: it["ParameterValue"] for it in found.get("Parameters", [])}


def pair(setting: str, example: str) -> tuple[str, str]:
    """Split a setting NAME=VALUE."""
    name, separator, value = setting.partition("=")
    if not separator:
        raise CannotBeDone(f"--set {setting}: give NAME=VALUE, such as {example}.")
    return name, value


def settings(given: Iterable[str], template: Path, example: str) -> dict[str, str]:
    """Parse and check parameters: SAM would ignore a name that the template lacks."""
    known = load(template)["Parameters"]
    found = dict(pair(setting, example) for setting in given)
    for name in found:
        if name not in known:
            raise CannotBeDone(f"--set {name}: no such parameter; use one of {', '.join(known)}.")
    return found


def overrides(settings: Mapping[str, str]) -> list[str]:
    """Format parameters for `sam deploy`, with blanks and quotes in values escaped."""
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in settings.items()
    }
    return [f'{name}="{value}"' for name, value in escaped.items()]


def run(app: typer.Typer) -> None:
    """Run a command line; print an expected error in one line and exit with 1."""
    try:
        app()
    except (CannotBeDone, DigitsError, ClientError, BotoCoreError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        sys.exit(1)


def clear_failed_creation(stack: str) -> None:
    """Delete a stack whose creation was rolled back: it is empty, but its name is taken.

    Raises
    ------
    CannotBeDone
        If it cannot be deleted, or is in another state in which it cannot be deployed.
    """
    found = described(stack)
    status = found.get("StackStatus", "")
    if way_out := WAYS_OUT.get(status):
        raise CannotBeDone(
            f"The stack {stack} is {status}: see its events. Correct the cause, run"
            f" `aws cloudformation {way_out} --stack-name {stack}`, and deploy again."
        )
    if status != "ROLLBACK_COMPLETE":
        return
    typer.echo(f"The first deployment of {stack} failed; removing what it left.")
    cloudformation = boto3.client("cloudformation")
    cloudformation.delete_stack(StackName=found["StackId"])
    try:
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=found["StackId"])
    except WaiterError as error:
        raise CannotBeDone(
            f"The stack {stack} could be neither created nor deleted: see its events."
        ) from error


def protect_production(stack: str) -> None:
    """Protect a stack of the stage `prod` against removal, which a template cannot declare."""
    found = described(stack)
    if parameters(found).get("Stage") == "prod" and not found.get("EnableTerminationProtection"):
        boto3.client("cloudformation").update_termination_protection(
            StackName=stack, EnableTerminationProtection=True
        )
        typer.echo(f"{stack} is protected against removal now, for its stage is prod.")
