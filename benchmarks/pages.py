r"""Accuracy on pages of several digits, by kind of page: rendered pages, or real pictures.

    python -m benchmarks.pages                         rendered pages, held out of training
    python -m benchmarks.pages --kind a4 --count 20    fewer pages, of one kind
    python -m benchmarks.pages --real FOLDER           real pictures instead, with a labels.csv
    python -m benchmarks.pages --reference             also read by PP-OCRv6
    python -m benchmarks.pages --sheet failures.png    and a contact sheet of our failures
    python -m benchmarks.pages --record                append the figures to the records

Rendered pages are those of `benchmarks.page_samples`. A folder's labels.csv has the columns file,
truth and kind; in a truth, a line break is the two characters \n, and ? is one sign that is not a
digit. A folder in which all truths are one digit is read in single mode. The table's title says
which pictures were read.

Pictures are read by `Classifier.classify` on one core. Seconds are the median processor time, and
their ratio is the median of the ratios per picture. `benchmarks.page_scores` defines the scores.
PP-OCRv6 has no reject option, so none of its results count as accepted.
"""

from __future__ import annotations

import base64
import csv
import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Protocol

import typer
from rich import box
from rich.progress import track
from rich.table import Table

from benchmarks import contact_sheet, machine, page_samples, page_scores, shares, side_by_side
from benchmarks.page_samples import PageSample
from benchmarks.page_scores import Score
from benchmarks.side_by_side import console
from digits import Classifier, image
from digits.errors import DigitsError
from digits.quiet import nothing_on_stderr
from digits.recognition.pipeline import Recogniser, single_digit
from digits.registry import bundle
from training_job.tile_segmenter import trained

ROOT = Path(__file__).parents[1]
OURS, IN_DEVELOPMENT, REFERENCE = "ours", "in development", "PP-OCRv6"
COLUMNS = (
    *("reader", "pictures", "exact", "strict", "accepted", "accepted errors"),
    *("character error rate", "seconds"),
)
_READY = ".venvs/rapidocr/.ready"  # make's target for the reference's environment
_SIDE, _COLUMNS = 420, 4  # pixels of a picture on the contact sheet, and pictures per row
_MOST = 120  # pictures on the contact sheet
_WIDE, _LINES = 64, 6  # characters per line, and lines per text, on the contact sheet


@dataclass(frozen=True)
class ReaderOutput:
    """A reader's output for one picture, and the seconds of processor time that it took."""

    text: str
    accepted: bool
    seconds: float


@dataclass(frozen=True)
class PageResult:
    """One picture, and one reader's output for it."""

    sample: PageSample
    reader: str
    reading: ReaderOutput

    @property
    def score(self) -> Score:
        """The scores of the output."""
        return page_scores.score(self.sample.text, self.reading.text, self.reading.accepted)

    @property
    def failed(self) -> bool:
        """Whether the output is not strictly correct, or accepted without digits in the truth."""
        return self.score.accepted_error or bool(self.sample.text and not self.score.strict)


class Reader(Protocol):
    """Something that reads pictures."""

    def __call__(self, sample: PageSample, /) -> ReaderOutput:
        """Read one picture."""


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")] = bundle.SHIPPED,
    count: Annotated[int, typer.Option(min=1, help="Number of rendered pages per kind.")] = 50,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only pictures of this kind; repeatable.")
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of real pictures to read instead."),
    ] = None,
    in_development: Annotated[
        bool,
        typer.Option("--in-development", help="Also read with the page reader in development."),
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Also read with PP-OCRv6.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG file for a contact sheet of failures.")
    ] = None,
    record: side_by_side.RecordOption = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Print the last records.")] = False,
) -> None:
    """Read all pictures and print the table."""
    if recorded:
        _show_recorded()
        return
    side_by_side.on_one_core()
    samples, total = _real(real, kind) if real else _rendered(count, kind)
    with nothing_on_stderr():
        classifier = Classifier(bundle.load(folder))
    readers: dict[str, Reader] = {OURS: lambda sample: _read(classifier, sample)}
    if in_development:
        pages = trained.recogniser(classifier.classify_frames)
        readers[IN_DEVELOPMENT] = lambda sample: _read_in_development(pages, sample)
    with _pp_ocr() if reference else nullcontext() as other:
        if other:
            readers[REFERENCE] = other
        results = [
            PageResult(sample, name, reader(sample))
            for sample in track(samples, "reading", total, console=console, transient=True)
            for name, reader in readers.items()
        ]
    figures = {
        "machine": machine.described(),
        "title": f"real pictures: {real.name}" if real else "rendered pages",
        "model": classifier.manifest.version,
        "rows": _figures(results, together=real is not None),
    }
    _show(figures)
    if record:
        side_by_side.save(f"pages-real-{real.name}" if real else "pages", figures)
    if sheet:
        failed = [result for result in results if result.reader == OURS and result.failed]
        failed.sort(key=lambda result: not result.score.accepted)
        tiles = [_tile(result) for result in failed[:_MOST]]
        sheet.write_bytes(contact_sheet.drawn(tiles, _SIDE, _COLUMNS))
        console.print(f"{min(len(failed), _MOST)} of {len(failed)} failures are in {sheet}")


def _rendered(count: int, kinds: Sequence[str] | None) -> tuple[Iterator[PageSample], int]:
    """Return an iterator that renders the pages, and their number."""
    unknown = set(kinds or ()) - set(page_samples.KINDS)
    if unknown:
        raise typer.BadParameter(
            f"{unknown.pop()} is not a kind of page; give one of {', '.join(page_samples.KINDS)}."
        )
    chosen = kinds or page_samples.KINDS
    drawn = (page_samples.sample(kind, number) for kind in chosen for number in range(count))
    return drawn, len(chosen) * count


def _real(folder: Path, kinds: Sequence[str] | None) -> tuple[Iterator[PageSample], int]:
    """Return an iterator that reads the pictures of a folder, and their number."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        labels = list(csv.DictReader(stream))
    alone = all(len(label["truth"]) == 1 for label in labels)
    labels = [label for label in labels if not kinds or label["kind"] in kinds]
    pictures = (
        PageSample(
            label["kind"],
            (folder / label["file"]).read_bytes(),
            label["truth"].replace("\\n", "\n"),
            "single" if alone else "multiple",
        )
        for label in sorted(labels, key=lambda label: label["kind"])
    )
    return pictures, len(labels)


def _read_in_development(pages: Recogniser, sample: PageSample) -> ReaderOutput:
    started = time.process_time()
    try:
        picture = image.decode(sample.data)
        lines = pages.read(picture)
        doubt = False
        if sample.mode == "single":
            only = single_digit(lines, picture)
            lines, doubt = ((only.mark,),) if only.mark else (), only.several or only.unread
    except DigitsError:  # a picture that cannot be read is read as nothing
        lines, doubt = (), False
    text = "\n".join(
        "".join(str(mark.probabilities.argmax()) if mark.is_digit else "?" for mark in line)
        for line in lines
    )
    accepted = all(mark.accepted for line in lines for mark in line) and bool(lines) and not doubt
    return ReaderOutput(text, accepted, time.process_time() - started)


def _read(classifier: Classifier, sample: PageSample) -> ReaderOutput:
    started = time.process_time()
    try:
        result = classifier.classify(sample.data, mode=sample.mode)
        text, accepted = result.text or "", not result.needs_review
    except DigitsError:  # a picture that cannot be read is read as nothing
        text, accepted = "", False
    return ReaderOutput(text, accepted, time.process_time() - started)


@contextmanager
def _pp_ocr() -> Iterator[Reader]:
    """Run PP-OCRv6 in a process with its own environment, which make creates if it is missing."""
    # make must not rebuild the development environment, in which this process runs.
    make = ["make", "--silent", "--old-file=.venv/.ready", _READY]
    subprocess.run(make, cwd=ROOT, check=True)  # noqa: S603 - ours
    python = (ROOT / _READY).with_name("bin") / "python"
    script = Path(__file__).parent / "references/pp_ocr.py"
    pipe = subprocess.PIPE
    with subprocess.Popen([python, script], stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603 - ours
        asked, answered = process.stdin, process.stdout
        if asked is None or answered is None:
            raise RuntimeError("The process of PP-OCRv6 has no pipes.")

        def read(sample: PageSample) -> ReaderOutput:
            picture = base64.b64encode(sample.data).decode()
            asked.write(json.dumps({"mode": sample.mode, "data": picture}) + "\n")
            asked.flush()
            answer = json.loads(answered.readline())
            return ReaderOutput(answer["text"], False, answer["seconds"])

        yield read


def _figures(results: Sequence[PageResult], *, together: bool) -> list[dict[str, Any]]:
    """Count by kind and reader; with `together`, also over all kinds."""
    groups: dict[tuple[str, str], list[PageResult]] = defaultdict(list)
    for result in results:
        groups[result.sample.kind, result.reader].append(result)
    if together:
        for result in results:
            groups["all", result.reader].append(result)
    rows = []
    for (kind, reader), group in groups.items():
        seconds = [result.reading.seconds for result in group]
        row = {"kind": kind, "reader": reader, **_counted([result.score for result in group])}
        row["seconds"] = _rounded(median(seconds))
        if reader == OURS and (other := groups.get((kind, REFERENCE))):
            pairs = zip(seconds, other, strict=True)
            row["ratio"] = _rounded(median(ours / it.reading.seconds for ours, it in pairs))
        rows.append(row)
    return rows


def _rounded(value: float) -> float:
    """Round to three significant digits, to keep the records readable."""
    return float(f"{value:.3g}")


def _counted(scores: Sequence[Score]) -> dict[str, int]:
    return {
        "pictures": len(scores),
        "exact": sum(score.exact for score in scores),
        "strict": sum(score.strict for score in scores),
        "accepted": sum(score.accepted for score in scores),
        "accepted_errors": sum(score.accepted_error for score in scores),
        "edits": sum(score.edits for score in scores),
        "digits": sum(score.digits for score in scores),
    }


def _show(figures: Mapping[str, Any]) -> None:
    """Print figures as a Markdown table, followed by the machine."""
    table = Table(box=box.MARKDOWN)
    table.add_column(figures["title"], no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "reader" else "right", no_wrap=True)
    for kind, cells in table_rows(figures):
        table.add_row(kind, *cells)
    console.print(table)
    console.print(f"\nmodel {figures['model']}, {machine.in_words(figures['machine'])}\n")


def table_rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the kind and the cells of `COLUMNS` for each row of recorded figures."""
    for row in figures["rows"]:
        total, digits, ours = row["pictures"], row["digits"], row["reader"] != REFERENCE
        ratio = f" ({row['ratio']} × {REFERENCE})" if "ratio" in row else ""
        yield (
            row["kind"],
            (
                row["reader"],
                f"{total:,}",
                _share(row["exact"], total),
                _share(row["strict"], total) if digits else "",
                _share(row["accepted"], total) if ours else "",
                _share(row["accepted_errors"], row["accepted"]) if ours else "",
                f"{row['edits'] / digits:.1%}" if digits else "",
                f"{row['seconds']}{ratio}",
            ),
        )


def _share(hits: int, total: int) -> str:
    """Format a share with its numbers and its 95 % confidence interval."""
    if total == 0:
        return "0 of 0"
    low, high = shares.wilson(hits, total)
    return f"{hits} of {total}: {hits / total:.1%} ({low:.0%} to {high:.0%})"


def _show_recorded() -> None:
    """Print the last record of rendered pages and of each folder."""
    records = [
        side_by_side.latest(path.stem) for path in sorted(side_by_side.RECORDS.glob("pages*.jsonl"))
    ]
    for figures in filter(None, records):
        _show(figures)
    if not records:
        console.print("There is no record yet: run python -m benchmarks.pages --record.")


def _tile(result: PageResult) -> contact_sheet.Tile:
    """Return the picture with its kind, truth and output, for the contact sheet."""
    state = "ACCEPTED" if result.score.accepted else "for review"
    truth = result.sample.text.split() or ["no digit"]
    read = result.reading.text.split() or ["nothing"]
    lines = [f"{result.sample.kind}, {state}"]
    for name, text in (("truth", truth), ("read", read)):
        joined = f"{name} {' / '.join(text)}"
        cut = [joined[at : at + _WIDE] for at in range(0, len(joined), _WIDE)]
        lines += cut[:_LINES]
    return contact_sheet.Tile(result.sample.data, tuple(lines))


if __name__ == "__main__":
    typer.run(main)
