"""`digits labels …`: how far the images of a bucket are labelled, and what to do about the rest."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Look after the labels of a deployed stack.", no_args_is_help=True)

Stack = Annotated[str, typer.Option("--stack", help="Name of the deployed stack.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def retry(
    stack: Stack = "digits",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look.")] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete those that can never be labelled.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Look at the dead letters, say why each died, and send them back to be labelled."""
    from digits.cli import dead_letters, letters  # noqa: PLC0415 - not for --help

    letters.retry(dead_letters.of_stack(stack), dry_run=dry_run, discard=discard, yes=yes)
