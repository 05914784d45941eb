"""What the commands for deployed stacks share: finding one, and saying why something cannot be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


class CannotBeDone(Exception):
    """What stands in the way; the message is one line that says what to do."""


def outputs(stack: str, cloudformation: CloudFormationClient | None = None) -> dict[str, str]:
    """The outputs of a deployed stack, by their names; asked of AWS, unless a client is given.

    Raises
    ------
    CannotBeDone
        If there is no such stack.
    """
    try:
        client = cloudformation or boto3.client("cloudformation")
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        raise CannotBeDone(
            f"There is no stack {stack} ({error.response['Error']['Code']}); deploy it first, or"
            " name another."
        ) from error
    return {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}


def run(app: typer.Typer) -> None:
    """Run a command line; what cannot be done is one line and exit code 1."""
    try:
        app()
    except (CannotBeDone, ClientError, BotoCoreError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        sys.exit(1)
