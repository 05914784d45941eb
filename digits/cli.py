"""The command line: read pictures from files, folders, S3 and standard input; look at models.

What touches S3 imports boto3 when it runs, so that reading local files needs no AWS.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from digits import bundle, explain, store
from digits.bundle import MANIFEST, Manifest, ReadFile
from digits.classifier import Classifier
from digits.errors import DigitsError, ImageError, UnreadableImage
from digits.image import MAX_BYTES
from digits.results import ErrorInfo, Mode, Result

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif",
}  # fmt: skip

app = typer.Typer(
    help="Read handwritten digits in pictures.", no_args_is_help=True, add_completion=False
)
model_app = typer.Typer(help="Look at models and check them.", no_args_is_help=True)
app.add_typer(model_app, name="model")


class Format(str, Enum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True)
class Source:
    """One picture to read: its name for people, and how to get its bytes."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Answer:
    """What became of one picture."""

    path: str
    outcome: Result | ErrorInfo

    def to_json(self) -> dict[str, Any]:
        """The item of the JSON list."""
        if isinstance(self.outcome, ErrorInfo):
            return {"path": self.path, "error": self.outcome.model_dump()}
        return {"path": self.path, **self.outcome.model_dump(mode="json")}

    def to_row(self) -> dict[str, str]:
        """The line of the CSV: one of a number's digits is as sure as its least sure one."""
        if isinstance(self.outcome, ErrorInfo):
            result = {"error": self.outcome.code, "message": self.outcome.message}
        else:
            confidence = min((digit.confidence for digit in self.outcome.digits), default=None)
            result = {
                "text": self.outcome.text or "",
                "confidence": "" if confidence is None else f"{confidence:.4f}",
                "needs_review": str(self.outcome.needs_review).lower(),
                "reason": self.outcome.reason or "",
            }
        return {"path": self.path} | dict.fromkeys(COLUMNS[1:], "") | result


COLUMNS = ("path", "text", "confidence", "needs_review", "reason", "error", "message")


def main() -> None:
    """Run the command line; an expected error is one line on standard error and exit code 2."""
    try:
        app()
    except DigitsError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        sys.exit(2)


@app.command()
def classify(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders, s3://bucket/prefix, or - for standard input."),
    ],
    multiple: Annotated[
        bool, typer.Option("--multiple", help="Read every digit, in reading order.")
    ] = False,
    explain_file: Annotated[
        Path | None,
        typer.Option(
            "--explain", metavar="FILE", help="Write a PNG of what the network was shown."
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="Default: by the ending of --out, else a table."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write there, not to standard output.")
    ] = None,
) -> None:
    """Read the digit in each picture.

    In a folder, all files with a picture's ending are read, those of its subfolders too. Exits with
    0 if every picture was read, 1 if some could not be, 2 if the command itself was wrong.
    """
    sources = [source for path in paths for source in _sources(path)]
    if not sources:
        raise typer.BadParameter(f"there is no picture in {', '.join(paths)}")
    mode: Mode = "multiple" if multiple else "single"
    classifier = Classifier(bundle.load())
    failures = 0
    sheet: list[tuple[str, Result]] = []

    def answers() -> Iterator[Answer]:
        nonlocal failures
        for source in _with_progress(sources):
            answer = Answer(source.name, _read(source, classifier, mode, explain_file is not None))
            if isinstance(answer.outcome, ErrorInfo):
                failures += 1
            elif explain_file is not None:
                sheet.append((answer.path, answer.outcome))
            yield answer

    with _opened(out) as stream:
        _WRITERS[format_ or _format_for(out)](answers(), stream)
    if explain_file is not None:
        explain_file.write_bytes(explain.contact_sheet(sheet))
    raise typer.Exit(1 if failures else 0)


@model_app.command()
def show(
    address: Annotated[
        str | None,
        typer.Argument(metavar="[STORE]", help="A bundle's folder, a store's folder or s3://…"),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.TABLE,
) -> None:
    """Show the model in service there; without STORE, the one that ships with the code."""
    manifest = bundle.parse_manifest(_reader(address)(MANIFEST))
    if format_ is Format.JSON:
        sys.stdout.write(manifest.to_json().decode())
        return
    Console(soft_wrap=True).print(_model_table(manifest))


@model_app.command()
def verify(
    address: Annotated[
        str | None,
        typer.Argument(metavar="[STORE]", help="A bundle's folder, a store's folder or s3://…"),
    ] = None,
) -> None:
    """Check every file of the model in service against its digest, and run it once."""
    read_file = _reader(address)
    manifest = bundle.verify(read_file)
    Classifier(bundle.read(read_file))
    typer.echo(f"{manifest.version}: {len(manifest.files)} files, all as the manifest says.")


def _reader(address: str | None) -> ReadFile:
    """Reads the files of the bundle that `address` means."""
    if address is None:
        return bundle.in_folder(bundle.SHIPPED)
    if (Path(address) / MANIFEST).is_file():
        return bundle.in_folder(Path(address))
    models = store.open_store(address)
    found = store.current(models)
    assert found is not None  # noqa: S101 - only a conditional read gives None
    return store.in_store(models, found[0].version)


def _model_table(manifest: Manifest) -> Table:
    table = Table(title=f"Model {manifest.version}", show_header=False, title_justify="left")
    metrics = manifest.metrics
    rows = {
        "created": manifest.created,
        "git commit": manifest.git_commit or "unknown",
        "architecture": manifest.architecture,
        "recipe": f"{manifest.recipe}, {manifest.training.epochs} epochs,"
        f" batch {manifest.training.batch_size}, seed {manifest.training.seed}",
        "test accuracy": f"{metrics.test_accuracy:.2%}",
        "negative log-likelihood": f"{metrics.negative_log_likelihood:.4f} nats",
        "expected calibration error": f"{metrics.expected_calibration_error:.2%}",
        "temperature": f"{manifest.decision.temperature:.4f}",
        "review below": f"{manifest.decision.threshold:.2%} confidence",
        "files": f"{len(manifest.files)},"
        f" {sum(file.bytes for file in manifest.files.values()):,} bytes",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _sources(path: str) -> list[Source]:
    if path == "-":
        return [Source("-", lambda: sys.stdin.buffer.read(MAX_BYTES + 1))]
    if path.startswith("s3://"):
        return _s3_sources(path)
    local = Path(path)
    if local.is_dir():
        found = sorted(p for p in local.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        return [_file_source(file) for file in found]
    if not local.exists():
        raise typer.BadParameter(f"there is no file or folder {path}")
    return [_file_source(local)]


def _file_source(path: Path) -> Source:
    def read() -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableImage(f"The file cannot be read ({error.strerror}).") from error

    return Source(str(path), read)


def _s3_sources(address: str) -> list[Source]:
    try:
        import boto3  # noqa: PLC0415 - only an s3:// address may need it
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError as error:
        raise typer.BadParameter("s3:// needs boto3: pip install boto3") from error

    parts = urlsplit(address, allow_fragments=False)
    bucket, prefix = parts.netloc, address.removeprefix(f"s3://{parts.netloc}").removeprefix("/")
    try:
        s3 = boto3.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    except (ClientError, BotoCoreError) as error:
        raise typer.BadParameter(
            f"{address} cannot be listed ({error}); check the bucket and your credentials"
        ) from error

    def source(key: str) -> Source:
        def read() -> bytes:
            try:
                answer = s3.get_object(Bucket=bucket, Key=key)
                return answer["Body"].read(MAX_BYTES + 1)
            except (ClientError, BotoCoreError) as error:
                raise UnreadableImage(f"The object cannot be fetched ({error}).") from error

        return Source(f"s3://{bucket}/{key}", read)

    return [source(key) for key in keys if not key.endswith("/")]


def _read(
    source: Source, classifier: Classifier, mode: Mode, explained: bool
) -> Result | ErrorInfo:
    try:
        return classifier.classify(source.read(), mode=mode, explain=explained)
    except ImageError as error:
        return ErrorInfo.of(error)


def _with_progress(sources: list[Source]) -> Iterator[Source]:
    """Show a bar on standard error while more than one picture is read, if a person is there."""
    console = Console(stderr=True)
    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=len(sources) == 1 or not console.is_terminal,
    ) as progress:
        yield from progress.track(sources)


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears under its name only once it is whole."""
    if out is None:
        yield sys.stdout
        return
    draft = out.with_name(f".{out.name}.draft")
    try:
        with draft.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        draft.replace(out)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {out} ({error.strerror})") from error
    finally:
        draft.unlink(missing_ok=True)


def _format_for(out: Path | None) -> Format:
    suffix = out.suffix.lower().removeprefix(".") if out else ""
    return Format(suffix) if suffix in (Format.JSON, Format.CSV) else Format.TABLE


def _write_json(answers: Iterable[Answer], stream: IO[str]) -> None:
    separator = "[\n"
    for answer in answers:
        stream.write(separator + json.dumps(answer.to_json(), ensure_ascii=False))
        separator = ",\n"
    stream.write("\n]\n")


def _write_csv(answers: Iterable[Answer], stream: IO[str]) -> None:
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(answer.to_row() for answer in answers)


def _write_table(answers: Iterable[Answer], stream: IO[str]) -> None:
    table = Table("picture", "digits", "confidence", "for review", title_justify="left")
    for answer in answers:
        row = answer.to_row()
        verdict = row["reason"] or (
            f"[red]{row['error']}[/]: {row['message']}" if row["error"] else ""
        )
        table.add_row(row["path"], f"[bold]{row['text']}[/]", row["confidence"], verdict)
    Console(file=stream, soft_wrap=stream is not sys.stdout).print(table)


_WRITERS: dict[Format, Callable[[Iterable[Answer], IO[str]], None]] = {
    Format.JSON: _write_json,
    Format.CSV: _write_csv,
    Format.TABLE: _write_table,
}
