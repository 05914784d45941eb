"""`digits feedback …`: corrections that users sent, for review before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Export the corrections that users sent.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `collect` a subcommand: typer merges a group of one command into it."""


@app.command()
def collect(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE", help="The labels bucket, s3://bucket, or a folder with a copy of it."
        ),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder that the images are copied to.")
    ],
) -> None:
    """Copy the corrections of one digit into FOLDER, with a labels.csv for review."""
    from digits.labels import feedback  # noqa: PLC0415 - not for --help
    from digits.registry import object_store  # noqa: PLC0415 - not for --help

    copied, left = feedback.collect(object_store.open_store(store), folder)
    typer.echo(f"{copied} images in {folder}; {left} left out: their correction is not one digit.")
