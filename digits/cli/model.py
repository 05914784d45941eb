"""`digits model …`: inspect, verify and compare models; promote them and roll back."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

app = typer.Typer(
    help="Inspect, verify and compare models; promote them and roll back.", no_args_is_help=True
)

Address = Annotated[
    str | None,
    typer.Argument(
        metavar="STORE",
        help="A registry (a folder or s3://bucket[/prefix]), a bundle's folder or"
        " STORE/models/VERSION.",
    ),
]
Store = Annotated[str, typer.Argument(metavar="STORE", help="A folder or s3://bucket[/prefix].")]
Version = Annotated[
    str | None,
    typer.Option(
        "--version", metavar="VERSION", help="This version of STORE, not the one in service."
    ),
]


class Format(str, Enum):
    """Output formats of `digits model`."""

    TABLE = "table"
    JSON = "json"


Shape = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]


@app.command()
def show(address: Address = None, version: Version = None, format_: Shape = Format.TABLE) -> None:
    """Show the model in service; without STORE, the model that ships with the code."""
    from digits.cli import models, tables  # noqa: PLC0415 - NumPy: not for --help

    model = models.find(address, version)
    if format_ is Format.JSON:
        tables.write_json(model.manifest.model_dump(mode="json", by_alias=True))
    else:
        tables.write(tables.model(model))


@app.command()
def verify(address: Address = None, version: Version = None) -> None:
    """Check every file of the model in service against its digest, and load its networks.

    Exits with 1 if every file is right, but this software cannot serve the model.
    """
    from digits.cli import models  # noqa: PLC0415
    from digits.registry import bundle  # noqa: PLC0415 - see `show`

    model = models.find(address, version)
    manifest = bundle.verify(model.read_file)
    problem = bundle.serving_problem(manifest)
    if problem is None:
        models.load_classifier(bundle.read(model.read_file))
    typer.echo(
        f"{manifest.version}: {len(manifest.files)} files, every digest matches the manifest."
    )
    if problem is not None:
        _complain(problem, label="Cannot be served:")
        raise typer.Exit(1)


@app.command("list")
def list_(address: Store, format_: Shape = Format.TABLE) -> None:
    """List the versions in a registry, with the one in service and incomplete ones marked."""
    from digits.cli import models, tables  # noqa: PLC0415 - see `show`

    rows = models.listed(address)
    if format_ is Format.JSON:
        tables.write_json([row.to_json() for row in rows])
    else:
        tables.write(tables.versions(rows))


@app.command()
def promote(
    candidate: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            help="A version in STORE; runs/NAME, the model of that training run; or a bundle's"
            " folder, which is uploaded first.",
        ),
    ],
    address: Store,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Promote the model even if the gate refuses it, and record this reason.",
        ),
    ] = None,
    format_: Shape = Format.TABLE,
) -> None:
    """Put a model in service if it passes the promotion gate.

    The model must reach absolute floors, and must not be worse than the model in service. Exits
    with 1 if the gate refuses it.
    """
    from digits.cli import models, tables  # noqa: PLC0415
    from digits.registry import gate  # noqa: PLC0415 - see `show`

    try:
        promotion = models.promoted(candidate, address, force)
    except gate.Refused as refusal:
        tables.write_criteria(refusal.criteria, as_json=format_ is Format.JSON)
        _complain(f"{refusal} --force REASON overrides the gate.")
        raise typer.Exit(1) from refusal
    tables.write_criteria(promotion.criteria, as_json=format_ is Format.JSON)
    pointer = promotion.pointer
    if failed := gate.failures(promotion.criteria):
        names = ", ".join(item.name for item in failed)
        _complain(f"promoted in spite of {names}: {pointer.forced}", label="Forced:")
    before = f"; before it, {pointer.previous}" if pointer.previous else ""
    typer.echo(f"{pointer.version} is in service in {address}{before}.", err=True)


@app.command()
def rollback(
    address: Store,
    to: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Put this version in service, not the previous one."),
    ] = None,
) -> None:
    """Put the previous model in service again, without the promotion gate.

    A model that this software cannot serve is refused, and the model in service stays.
    """
    from digits.cli import models  # noqa: PLC0415 - see `show`

    pointer = models.rolled_back(address, to)
    typer.echo(f"{pointer.version} is in service in {address}; before it, {pointer.previous}.")


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="As for `show`, or a version.")],
    after: Annotated[str, typer.Argument(metavar="B", help="As for `show`, or a version.")],
    address: Annotated[
        str | None, typer.Argument(metavar="STORE", help="The registry that holds the versions.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also show what both models have in common.")
    ] = False,
    format_: Shape = Format.TABLE,
) -> None:
    """Compare two models: figures, settings, networks, configuration, data."""
    from digits.cli import differences, models, tables  # noqa: PLC0415 - see `show`

    pair = [models.named(name, address) for name in (before, after)]
    found = differences.between(*pair, everything=everything)
    if format_ is Format.JSON:
        tables.write_json([item.to_json() for item in found])
    else:
        tables.write(tables.differing(found, *(model.manifest.version for model in pair)))


def _complain(message: str, label: str = "Refused:") -> None:
    typer.echo(f"{typer.style(label, fg='red', bold=True)} {message}", err=True)
