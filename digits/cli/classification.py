"""`digits classify`: every picture that the arguments name, one answer each, in their order."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from digits.classifier import Classifier
    from digits.cli.answers import Answer
    from digits.cli.sources import Source, Sources
    from digits.results import Explain, Mode, Result

# Of so many digits, a card of its own for each: the sheet is 12 screens high at most.
CARD_DIGITS = 16
# A sheet of that many is 64 rows high; more would be neither viewed nor kept in memory with ease.
SHEET_DIGITS = 512


class Format(str, Enum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    XLSX = "xlsx"
    PARQUET = "parquet"


# A table for people is what an ending of text gets.
_FORMATS = {".txt": Format.TABLE} | {
    f".{form.value}": form for form in Format if form is not Format.TABLE
}


def classify(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Files, folders, s3://bucket/prefix, or - for standard input."
        ),
    ],
    multiple: Annotated[
        bool, typer.Option("--multiple", help="Read every digit, in reading order.")
    ] = False,
    explain_file: Annotated[
        Path | None,
        typer.Option("--explain", metavar="FILE", help="Write a PNG that shows why."),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="Default: by the ending of --out, else a table."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write there, not to standard output.")
    ] = None,
    bom: Annotated[
        bool,
        typer.Option("--bom", help="Start CSV or TSV with a byte-order mark; Excel needs it."),
    ] = False,
) -> None:
    """Read the digit in each picture.

    In a folder, and below an s3:// prefix, everything with a picture's ending is read, in the order
    of the names; what else is there is counted and named at the end. Exits with 0 if every picture
    was read, 1 if some could not be, 2 if the command itself was wrong.

    --out writes what its ending says: .json, .csv, .tsv, .xlsx, .parquet, or .txt for the table.

    The picture of --explain has a card for each of up to 16 digits: what the network saw of it,
    what mattered there, the probabilities, and the maps of the first two layers. Of more, it shows
    what the network saw.
    """
    from digits.cli import answers, files, models, sources  # noqa: PLC0415
    from digits.registry import bundle  # noqa: PLC0415 - NumPy: not for --help

    format_ = format_ or _format_for(out)
    skipped = sources.Skipped()
    pictures = sources.named(paths, skipped)
    classifier = models.load_classifier(bundle.load())
    mode: Mode = "multiple" if multiple else "single"
    reading = Reading(classifier, mode, explained=explain_file is not None)
    with files.whole(explain_file) if explain_file else contextlib.nullcontext() as sheet:
        at_terminal = out is None and sys.stdout.isatty()
        shown = _with_progress(pictures, hidden=at_terminal and format_ != Format.TABLE)
        answers.write(reading.answers(shown), format_.value, out, bom=bom)
        if sheet is not None:
            reading.write_sheet(sheet)
    if skipped.count:
        typer.echo(skipped, err=True)
    raise typer.Exit(1 if reading.failures else 0)


class Reading:
    """One run over pictures, with what is known at its end: failures, and digits for the sheet."""

    def __init__(self, classifier: Classifier, mode: Mode, *, explained: bool) -> None:
        self.failures = 0
        self._mode, self._explained = mode, explained
        self._digits = 0
        self._for_sheet: list[tuple[str, Result]] = []
        self._classifier = classifier

    def answers(self, sources: Iterator[Source]) -> Iterator[Answer]:
        """Read one picture after the other; nothing but the sheet's digits is kept."""
        from digits.cli.answers import Answer  # noqa: PLC0415 - see `classify`
        from digits.errors import ImageError  # noqa: PLC0415
        from digits.results import ErrorInfo  # noqa: PLC0415

        for source in sources:
            try:
                result = self._classifier.classify(
                    source.read(), mode=self._mode, explain=self._how()
                )
            except ImageError as error:
                self.failures += 1
                yield Answer(source.name, ErrorInfo.of(error))
                continue
            if self._explained and self._digits < SHEET_DIGITS:
                self._for_sheet.append((source.name, result))
            self._digits += len(result.digits)
            yield Answer(source.name, result)

    def write_sheet(self, stream: IO[bytes]) -> None:
        """Write the PNG that shows why, and say so if it does not hold every digit."""
        from digits.cli import sheet  # noqa: PLC0415 - see `classify`

        few = 0 < self._digits <= CARD_DIGITS
        stream.write((sheet.cards if few else sheet.contact_sheet)(self._for_sheet))
        shown = sum(len(result.digits) for _, result in self._for_sheet)
        if shown < self._digits:
            typer.echo(f"The sheet shows the first {shown:,} of {self._digits:,} digits.", err=True)

    def _how(self) -> Explain | None:
        """In full as long as there may be few enough digits for cards."""
        if not self._explained:
            return None
        return "full" if self._digits < CARD_DIGITS else "frame"


def _with_progress(sources: Sources, *, hidden: bool) -> Iterator[Source]:
    """Show a bar on standard error while more than one picture is read, if a person is there."""
    from rich.console import Console  # noqa: PLC0415 - not for --help
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    total = 0 if hidden or not console.is_terminal else sum(1 for _ in sources())
    if total < 2:
        yield from sources()
        return
    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        yield from progress.track(sources(), total=total)


def _format_for(out: Path | None) -> Format:
    """The format that the ending of a file says; a table for a terminal, a pipe or a device."""
    from digits.errors import BadRequest  # noqa: PLC0415 - see `classify`

    if out is None:
        return Format.TABLE
    found = _FORMATS.get(out.suffix.lower())
    if found is None and (out.is_file() or not out.exists()):
        raise BadRequest(
            f"The ending of {out} says no format that is written here; use one of"
            f" {', '.join(_FORMATS)}, or say --format."
        )
    return found or Format.TABLE
