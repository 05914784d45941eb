"""`digits labels …`: the labels of a deployed stack: progress, backfill, export, corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from digits.cli.model import Format, Shape

app = typer.Typer(
    help="Inspect, export and correct the labels of a deployed stack.", no_args_is_help=True
)

Stack = Annotated[str, typer.Option("--stack", help="Name of the deployed stack.")]
Images = Annotated[
    str, typer.Argument(metavar="IMAGES", help="s3://IMAGES-BUCKET, or a prefix in it.")
]
Table = Annotated[
    str, typer.Argument(help="A table of `digits labels collect`, or s3://LABELS-BUCKET.")
]


@app.command()
def status(images: Images, stack: Stack = "digits", format_: Shape = Format.TABLE) -> None:
    """Count images by state: labelled, waiting, refused, for review."""
    from digits.cli.labels import output  # noqa: PLC0415 - boto3: not for --help

    output.status(images, stack, as_json=format_ is Format.JSON)


@app.command()
def backfill(
    images: Images,
    stack: Stack = "digits",
    relabel: Annotated[
        bool,
        typer.Option("--relabel", help="Also label images that the model in service has labelled."),
    ] = False,
    inventory: Annotated[
        str | None,
        typer.Option(
            metavar="MANIFEST",
            help="Take the images from this S3 Inventory of the whole bucket"
            " (s3://LABELS-BUCKET/inventory/…/manifest.json).",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Show the progress until the backfill ends.")] = True,
) -> None:
    """Label the images that are already in the bucket; run it again to resume."""
    from digits.cli.labels import output  # noqa: PLC0415 - see `status`

    output.backfill(images, stack, relabel=relabel, inventory=inventory, wait=wait)


@app.command()
def collect(
    labels: Annotated[
        str,
        typer.Argument(
            metavar="LABELS", help="s3://LABELS-BUCKET, or s3://LABELS-BUCKET/labels/PREFIX."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv, .tsv, .xlsx or .parquet file. Default: CSV to standard output."),
    ] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Start CSV or TSV with a byte-order mark; Excel needs it.")
    ] = False,
) -> None:
    """Write a table of labels and corrections, one row an image."""
    from digits.cli.labels import output  # noqa: PLC0415 - see `status`

    output.collect(labels, out, bom=bom)


@app.command()
def diff(before: Table, after: Table, format_: Shape = Format.TABLE) -> None:
    """Compare two models' labels of the same images, given as collected tables or buckets."""
    from digits.cli.labels import output  # noqa: PLC0415 - see `status`

    output.diff(before, after, as_json=format_ is Format.JSON)


# A correction may start with a minus, as options do.
@app.command(context_settings={"ignore_unknown_options": True})
def correct(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="s3://IMAGES-BUCKET/KEY.")],
    truth: Annotated[
        str,
        typer.Argument(
            help="The image's digits and signs, ? for a mark that is neither; \\n between lines,"
            ' \\f between pages; "" for an image without marks.'
        ),
    ],
    stack: Stack = "digits",
) -> None:
    """Correct the label of an image. Later labels of the image keep the correction."""
    from digits.cli.labels import output  # noqa: PLC0415 - see `status`

    output.correct(image, truth, stack)


@app.command()
def retry(
    stack: Stack = "digits",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the dead letters; change nothing.")
    ] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete the dead letters that can never be labelled.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Show the dead letters and why each failed, and redrive them."""
    from digits.cli.labels import dead_letters, redrive  # noqa: PLC0415 - see `status`

    redrive.retry(dead_letters.of_stack(stack), dry_run=dry_run, discard=discard, yes=yes)
