"""`digits model …`: look at models and check them."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Annotated

import typer

app = typer.Typer(help="Look at models and check them.", no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Argument(
        metavar="[STORE]",
        help="A store (a folder or s3://bucket[/prefix]), a bundle's folder or"
        " STORE/models/VERSION.",
    ),
]
Version = Annotated[
    str | None,
    typer.Option("--version", metavar="VERSION", help="This one of STORE, not the one in service."),
]


class Format(str, Enum):
    """How models are shown."""

    TABLE = "table"
    JSON = "json"


Shape = Annotated[Format, typer.Option("--format", help="For people, or for programs.")]


@app.command()
def show(address: Address = None, version: Version = None, format_: Shape = Format.TABLE) -> None:
    """Show the model in service; without STORE, the one that ships with the code."""
    from digits.cli import models, tables  # noqa: PLC0415 - NumPy: not for --help

    model = models.find(address, version)
    if format_ is Format.JSON:
        sys.stdout.write(model.manifest.to_json().decode())
    else:
        tables.write(tables.model(model))


@app.command()
def verify(address: Address = None, version: Version = None) -> None:
    """Check every file of the model in service against its digest, and run it once."""
    from digits import bundle  # noqa: PLC0415 - see `show`
    from digits.cli import models  # noqa: PLC0415

    model = models.find(address, version)
    manifest = bundle.verify(model.read_file)
    models.load_classifier(bundle.read(model.read_file))
    typer.echo(f"{manifest.version}: {len(manifest.files)} files, all as the manifest says.")
