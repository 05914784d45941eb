"""Output of `digits labels`: tables for people, JSON for programs, progress bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from digits.cli import tables
from digits.cli.labels import backlog, collected
from digits.cli.labels.backfill import Backfill
from digits.cli.stack import answering, client, output, place
from digits.errors import BadRequest, NotFound
from digits.labels import corrections
from digits.labels.label import Correction, Source
from digits.labels.store import LabelStore

_CHANGES = 20  # the most frequent changes that are shown


def status(images: str, stack: str, *, as_json: bool) -> None:
    """See `digits labels status`."""
    where = backlog.places(images, stack)
    found: Counter[backlog.State] = Counter()
    with _counting("images") as count:
        for page in backlog.states(where):
            found += page
            count(page.total())
    waiting, dead = backlog.queued(where)
    figures = {state: found[state] for state in backlog.STATES}
    more = {"corrected": backlog.corrected(where), "in the queue": waiting, "dead letters": dead}
    if as_json:
        tables.write_json({"images": found.total(), **figures, **more})
        return
    table = Table("", Column("images", justify="right"), Column("share", justify="right"))
    for state, number in figures.items():
        table.add_row(state, f"{number:,}", f"{number / max(found.total(), 1):.1%}")
    table.add_section()
    for name, number in more.items():
        table.add_row(name, f"{number:,}", "")
    tables.write(table)


def backfill(images: str, stack: str, *, relabel: bool, inventory: str | None, wait: bool) -> None:
    """See `digits labels backfill`."""
    where = backlog.places(images, stack)
    run, is_old = Backfill.start(where, relabel=relabel, inventory=inventory)
    typer.echo(f"{'Already running' if is_old else 'Started'}: {run.arn}", err=True)
    if not wait:
        return
    try:
        with _bar("images") as (bar, task):
            for at in run.watch():
                bar.update(task, completed=at.done, total=at.total)
    except KeyboardInterrupt:
        typer.echo("The backfill keeps running; run the same command again to follow it.", err=True)
        raise
    typer.echo(
        f"Done. Each call's report is in s3://{where.labels}/backfill/; `digits labels status"
        f" {images}` counts the labels."
    )


def collect(labels: str, out: Path | None, *, bom: bool) -> None:
    """See `digits labels collect`."""
    with _counting("labels") as count:
        total = 0
        for number in collected.collect(labels, out, bom=bom):
            total += number
            count(number)
    if out is not None:
        typer.echo(f"{total:,} labels in {out}")


def diff(before: str, after: str, *, as_json: bool) -> None:
    """See `digits labels diff`."""
    with _counting("images") as count:
        found = collected.diff(before, after, count)
    if as_json:
        told = {
            **asdict(found),
            "before": sorted(found.before),
            "after": sorted(found.after),
            "alike": found.alike,
            "changes": [
                {"before": a, "after": b, "images": n} for (a, b), n in found.changes.most_common()
            ],
        }
        tables.write_json(told)
        return
    table = Table("", _right("before"), _right("after"))
    table.add_row("model", ", ".join(sorted(found.before)), ", ".join(sorted(found.after)))
    table.add_row("images in both", "", f"{found.images:,}")
    table.add_row("read alike", "", f"{found.same:,}")
    table.add_row("only there", f"{found.only_before:,}", f"{found.only_after:,}")
    table.add_row("for review", f"{found.review_before:,}", f"{found.review_after:,}")
    if found.known:
        table.add_row(
            f"right, of {found.known:,} corrected",
            f"{found.right_before:,}",
            f"{found.right_after:,}",
        )
    tables.write(table)
    if found.changes:
        shown = Table("read as", "now as", _right("images"))
        for (one, other), number in found.changes.most_common(_CHANGES):
            shown.add_row(one or "nothing", other or "nothing", f"{number:,}")
        tables.write(shown)
        tables.write(_confusion(found))


def _confusion(found: collected.Difference) -> Table:
    """Build the table of changes: readings before as rows, readings now as columns."""
    counts = found.changes + Counter({(text, text): n for text, n in found.alike.items()})
    names = sorted({name for pair in counts for name in pair})
    table = Table("read as ↓ now as →", *(_right(name or "nothing") for name in names))
    for one in names:
        table.add_row(one or "nothing", *(f"{counts[one, other]:,}" for other in names))
    return table


def correct(image: str, truth: str, stack: str) -> None:
    """See `digits labels correct`."""
    try:
        truth = corrections.valid(truth.replace("\\n", "\n").replace("\\f", "\f"))
    except ValueError as error:
        raise BadRequest(str(error)) from error
    bucket, key = place(image)
    labels = output(stack, "LabelsBucket")
    s3 = client("s3")
    with answering():
        try:
            found = s3.head_object(Bucket=bucket, Key=key)
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            raise NotFound(f"There is no image {image}: check its bucket and key.") from error
    source = Source(
        bucket=bucket,
        key=key,
        version_id=found.get("VersionId"),
        etag=found["ETag"].strip('"'),
        size=found["ContentLength"],
    )
    with answering():
        kept = LabelStore(s3, labels).correct(Correction(source=source, truth=truth))
    typer.echo(f"Wrote {kept}")


def _right(name: str) -> Column:
    return Column(name, justify="right")


@contextmanager
def _bar(what: str) -> Iterator[tuple[Progress, TaskID]]:
    """Show a progress bar on standard error: standard output can be piped."""
    columns = (
        TextColumn("{task.completed:,}" + f" {what}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar, bar.add_task("", total=None)


@contextmanager
def _counting(what: str) -> Iterator[Callable[[int], None]]:
    with _bar(what) as (bar, task):
        yield lambda number: bar.advance(task, number)
