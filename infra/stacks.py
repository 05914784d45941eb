"""What the commands for deployed stacks share: errors of one line, and care around a deployment."""

from __future__ import annotations

import sys

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from rich.console import Console

from digits.errors import DigitsError

# States in which no stack can be deployed until a person has seen why; what leads out of them.
WAYS_OUT = {
    "ROLLBACK_FAILED": "delete-stack",
    "DELETE_FAILED": "delete-stack",
    "UPDATE_ROLLBACK_FAILED": "continue-update-rollback",
}


class CannotBeDone(Exception):
    """What stands in the way; the message is one line that says what to do."""


def run(app: typer.Typer) -> None:
    """Run a command line; what cannot be done is one line and exit code 1."""
    try:
        app()
    except (CannotBeDone, DigitsError, ClientError, BotoCoreError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        sys.exit(1)


def clear_failed_creation(stack: str) -> None:
    """Delete a stack whose creation was rolled back: nothing is left in it, but its name is taken.

    Raises
    ------
    CannotBeDone
        If it cannot be deleted, or is stuck in another state in which no stack can be deployed.
    """
    cloudformation = boto3.client("cloudformation")
    try:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return
    status = found["StackStatus"]
    if way_out := WAYS_OUT.get(status):
        raise CannotBeDone(
            f"The stack {stack} is {status}; its events say why. Mend that, run `aws cloudformation"
            f" {way_out} --stack-name {stack}`, and deploy again."
        )
    if status == "ROLLBACK_COMPLETE":
        cloudformation.delete_stack(StackName=found["StackId"])
        try:
            cloudformation.get_waiter("stack_delete_complete").wait(StackName=found["StackId"])
        except WaiterError as error:
            raise CannotBeDone(
                f"The stack {stack} could be neither created nor deleted; its events say why."
            ) from error


def protect_production(stack: str) -> None:
    """Let nobody delete a stack of stage `prod` before taking its termination protection away."""
    cloudformation = boto3.client("cloudformation")
    (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    if {"ParameterKey": "Stage", "ParameterValue": "prod"} in found.get("Parameters", []):
        cloudformation.update_termination_protection(
            StackName=stack, EnableTerminationProtection=True
        )
