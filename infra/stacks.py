"""What the commands for deployed stacks share: saying why something cannot be done."""

from __future__ import annotations

import sys

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from digits.errors import DigitsError


class CannotBeDone(Exception):
    """What stands in the way; the message is one line that says what to do."""


def run(app: typer.Typer) -> None:
    """Run a command line; what cannot be done is one line and exit code 1."""
    try:
        app()
    except (CannotBeDone, DigitsError, ClientError, BotoCoreError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        sys.exit(1)
