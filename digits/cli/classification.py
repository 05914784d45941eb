"""`digits classify`: one answer for each image that the arguments name, in their order."""

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

# Digits, at most, that get a card each: more would make the sheet over 12 screens high.
CARD_DIGITS = 16
# Frames, at most, on a sheet: 64 rows of eight, which image viewers and memory still bear.
SHEET_DIGITS = 512


class Format(str, Enum):
    """Output formats of `digits classify`."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    XLSX = "xlsx"
    PARQUET = "parquet"


# .txt gets the table that is printed to a terminal.
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
        typer.Option("--explain", metavar="FILE", help="Write a PNG that explains the answers."),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Output format. Default: the one of --out's extension, else a table."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this file, not to standard output."),
    ] = None,
    bom: Annotated[
        bool,
        typer.Option("--bom", help="Start CSV or TSV with a byte-order mark; Excel needs it."),
    ] = False,
) -> None:
    """Read the digit in each image.

    In a folder, and below an s3:// prefix, every file with an image's extension is read, in the
    order of the names; other files are counted and named at the end. Exits with 0 if every image
    was read, 1 if some could not be, 2 if the command itself was wrong.

    The extension of --out selects the format: .json, .csv, .tsv, .xlsx, .parquet, or .txt for the
    table.

    The PNG of --explain has a card for each of up to 16 digits: the classifier's 28x28 input, which
    of its pixels mattered, the probabilities, and the feature maps of the first two layers. For
    more digits it shows the inputs only.
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
    """One run over images; collects the failures, and the digits for the sheet."""

    def __init__(self, classifier: Classifier, mode: Mode, *, explained: bool) -> None:
        self.failures = 0
        self._mode, self._explained = mode, explained
        self._digits = 0
        self._for_sheet: list[tuple[str, Result]] = []
        self._classifier = classifier

    def answers(self, sources: Iterator[Source]) -> Iterator[Answer]:
        """Yield the answer of one image after the other; keep only the digits of the sheet."""
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
        """Write the PNG of --explain; warn if it does not hold every digit."""
        from digits.cli import sheet  # noqa: PLC0415 - see `classify`

        few = 0 < self._digits <= CARD_DIGITS
        stream.write((sheet.cards if few else sheet.contact_sheet)(self._for_sheet))
        shown = sum(len(result.digits) for _, result in self._for_sheet)
        if shown < self._digits:
            typer.echo(f"The sheet shows the first {shown:,} of {self._digits:,} digits.", err=True)

    def _how(self) -> Explain | None:
        """Return the level of explanation: full while the digits still fit on cards."""
        if not self._explained:
            return None
        return "full" if self._digits < CARD_DIGITS else "frame"


def _with_progress(sources: Sources, *, hidden: bool) -> Iterator[Source]:
    """Show a progress bar for more than one image, if standard error is a terminal."""
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
    """Return the format of a file's extension; the table for a terminal, a pipe or a device."""
    from digits.errors import BadRequest  # noqa: PLC0415 - see `classify`

    if out is None:
        return Format.TABLE
    found = _FORMATS.get(out.suffix.lower())
    if found is None and (out.is_file() or not out.exists()):
        raise BadRequest(
            f"The extension of {out} is not a known format: use one of"
            f" {', '.join(_FORMATS)}, or give --format."
        )
    return found or Format.TABLE
