"""The command line: classify images, manage models and labels, collect feedback.

Each command imports its dependencies when it runs: help is quick, and local files need no AWS.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from digits.cli import feedback, files, model
from digits.cli.classification import classify
from digits.cli.labels import commands
from digits.errors import DigitsError

app = typer.Typer(
    help="Read handwritten digits in images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
# File names may start with a minus, as options do.
app.command(context_settings={"ignore_unknown_options": True})(classify)
app.add_typer(model.app, name="model")
app.add_typer(commands.app, name="labels")
app.add_typer(feedback.app, name="feedback")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; an expected error is one line on standard error and exit code 2."""
    files.spell_out_what_cannot_be_encoded()
    try:
        app(args, prog_name="digits")
    except DigitsError as error:
        typer.echo(f"{typer.style('Error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(2)
