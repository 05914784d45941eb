"""`digits feedback …`: what users said was wrong, for a person to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at the corrections that users sent.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `collect` a command of a group, which typer would melt into one."""


@app.command()
def collect(
    store: Annotated[
        str, typer.Argument(metavar="STORE", help="The labels bucket, s3://bucket, or a copy.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the pictures go.")],
) -> None:
    """Copy the corrections of one digit into FOLDER, with a labels.csv to look through."""
    from digits.labels import feedback  # noqa: PLC0415 - not for --help
    from digits.registry import object_store  # noqa: PLC0415 - not for --help

    copied, left = feedback.collect(object_store.open_store(store), folder)
    typer.echo(f"{copied} pictures in {folder}; {left} left: their correction is not one digit.")
