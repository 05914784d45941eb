r"""How well pages of several digits are read, kind by kind: rendered pages, or real ones.

    python -m benchmarks.pages                         rendered pages, held out of training
    python -m benchmarks.pages --kind a4 --count 20    of one kind, and fewer
    python -m benchmarks.pages --real FOLDER           real pictures instead, with a labels.csv
    python -m benchmarks.pages --reference             read by PP-OCRv6, too, picture by picture
    python -m benchmarks.pages --sheet failures.png    and a contact sheet of what we fail on
    python -m benchmarks.pages --record                keep the figures, dated

Rendered pages are those of `benchmarks.page_samples`. A folder's labels.csv has the columns file,
truth and kind; in a truth, a line break is the two characters \n, and ? is one sign that is no
digit. A folder whose truths are all one digit is read in single mode. A table is of one or of the
other, and says which.

Everything is read as `Classifier.classify` reads it, on one core; seconds are of the processor, the
median, and their ratio is the median of the pictures' own. What the scores mean stands in
`benchmarks.page_scores`. PP-OCRv6 asks nobody to review its answers, so none count as accepted.
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
from benchmarks.page_samples import Sample
from benchmarks.page_scores import Score
from benchmarks.side_by_side import console
from digits import Classifier, image
from digits.errors import DigitsError
from digits.quiet import nothing_on_stderr
from digits.recognition.pipeline import Recogniser, single_digit
from digits.registry import bundle
from training_job.tile_segmenter import kept

ROOT = Path(__file__).parents[1]
OURS, IN_DEVELOPMENT, REFERENCE = "ours", "in development", "PP-OCRv6"
_READY = ".venvs/rapidocr/.ready"  # what make calls the reference's environment
_SIDE, _COLUMNS = 420, 4  # pixels of a picture on the contact sheet, and pictures in a row
_MOST = 120  # pictures on the contact sheet
_WIDE, _LINES = 64, 6  # characters of a line on it, and lines of a text


@dataclass(frozen=True)
class Reading:
    """What a reader made of one picture, and the seconds of the processor that it took."""

    text: str
    accepted: bool
    seconds: float


@dataclass(frozen=True)
class Answer:
    """One picture, and one reader's reading of it."""

    sample: Sample
    reader: str
    reading: Reading

    @property
    def score(self) -> Score:
        """Of the reading."""
        return page_scores.score(self.sample.text, self.reading.text, self.reading.accepted)

    @property
    def failed(self) -> bool:
        """Not strictly right; or accepted, where there are no digits."""
        return self.score.accepted_error or bool(self.sample.text and not self.score.strict)


class Reader(Protocol):
    """Reads one picture."""

    def __call__(self, sample: Sample, /) -> Reading:
        """Read it."""


def main(
    folder: Annotated[Path, typer.Argument(help="A bundle.")] = bundle.SHIPPED,
    count: Annotated[int, typer.Option(min=1, help="Rendered pages of each kind.")] = 50,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; may be repeated.")] = None,
    real: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Read the real pictures of a folder.")
    ] = None,
    in_development: Annotated[
        bool, typer.Option("--in-development", help="Read by the page reader in development, too.")
    ] = False,
    reference: Annotated[bool, typer.Option("--reference", help="Read by PP-OCRv6, too.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to draw what we fail on.")
    ] = None,
    record: side_by_side.Record = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Print the last records.")] = False,
) -> None:
    """Read every picture, and print the table."""
    if recorded:
        _tell_recorded()
        return
    side_by_side.on_one_core()
    samples, total = _real(real, kind) if real else _rendered(count, kind)
    with nothing_on_stderr():
        classifier = Classifier(bundle.load(folder))
    readers: dict[str, Reader] = {OURS: lambda sample: _read(classifier, sample)}
    if in_development:
        pages = kept.recogniser(classifier.classify_frames)
        readers[IN_DEVELOPMENT] = lambda sample: _read_in_development(pages, sample)
    with _pp_ocr() if reference else nullcontext() as other:
        if other:
            readers[REFERENCE] = other
        answers = [
            Answer(sample, name, reader(sample))
            for sample in track(samples, "reading", total, console=console, transient=True)
            for name, reader in readers.items()
        ]
    figures = {
        "machine": machine.described(),
        "title": f"real pictures: {real.name}" if real else "rendered pages",
        "model": classifier.manifest.version,
        "rows": _figures(answers, together=real is not None),
    }
    _show(figures)
    if record:
        side_by_side.keep(f"pages-real-{real.name}" if real else "pages", figures)
    if sheet:
        failed = [answer for answer in answers if answer.reader == OURS and answer.failed]
        failed.sort(key=lambda answer: not answer.score.accepted)
        tiles = [_tile(answer) for answer in failed[:_MOST]]
        sheet.write_bytes(contact_sheet.drawn(tiles, _SIDE, _COLUMNS))
        console.print(f"{min(len(failed), _MOST)} of {len(failed)} failures are in {sheet}")


def _rendered(count: int, kinds: Sequence[str] | None) -> tuple[Iterator[Sample], int]:
    """Rendered pages, drawn one by one, and how many there are."""
    unknown = set(kinds or ()) - set(page_samples.KINDS)
    if unknown:
        raise typer.BadParameter(
            f"{unknown.pop()} is not a kind of page; give one of {', '.join(page_samples.KINDS)}"
        )
    chosen = kinds or page_samples.KINDS
    drawn = (page_samples.sample(kind, number) for kind in chosen for number in range(count))
    return drawn, len(chosen) * count


def _real(folder: Path, kinds: Sequence[str] | None) -> tuple[Iterator[Sample], int]:
    """The pictures of a folder, opened one by one, and how many there are."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        labels = list(csv.DictReader(stream))
    alone = all(len(label["truth"]) == 1 for label in labels)
    labels = [label for label in labels if not kinds or label["kind"] in kinds]
    pictures = (
        Sample(
            label["kind"],
            (folder / label["file"]).read_bytes(),
            label["truth"].replace("\\n", "\n"),
            "single" if alone else "multiple",
        )
        for label in sorted(labels, key=lambda label: label["kind"])
    )
    return pictures, len(labels)


def _read_in_development(pages: Recogniser, sample: Sample) -> Reading:
    started = time.process_time()
    try:
        picture = image.decode(sample.data)
        lines = pages.read(picture, single=sample.mode == "single")
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
    return Reading(text, accepted, time.process_time() - started)


def _read(classifier: Classifier, sample: Sample) -> Reading:
    started = time.process_time()
    try:
        result = classifier.classify(sample.data, mode=sample.mode)
        text, accepted = result.text or "", not result.needs_review
    except DigitsError:  # a picture that cannot be read is read as nothing
        text, accepted = "", False
    return Reading(text, accepted, time.process_time() - started)


@contextmanager
def _pp_ocr() -> Iterator[Reader]:
    """PP-OCRv6 in a process of its own, in an environment that is made when it is missing."""
    # This process runs in the environment for development, so that one must not be made anew.
    make = ["make", "--silent", "--old-file=.venv/.ready", _READY]
    subprocess.run(make, cwd=ROOT, check=True)  # noqa: S603 - ours
    python = (ROOT / _READY).with_name("bin") / "python"
    script = Path(__file__).parent / "references/pp_ocr.py"
    pipe = subprocess.PIPE
    with subprocess.Popen([python, script], stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603 - ours
        asked, answered = process.stdin, process.stdout
        if asked is None or answered is None:
            raise RuntimeError("The reference has no pipes.")

        def read(sample: Sample) -> Reading:
            picture = base64.b64encode(sample.data).decode()
            asked.write(json.dumps({"mode": sample.mode, "data": picture}) + "\n")
            asked.flush()
            told = json.loads(answered.readline())
            return Reading(told["text"], False, told["seconds"])

        yield read


def _figures(answers: Sequence[Answer], *, together: bool) -> list[dict[str, Any]]:
    """Counts by kind and reader, and of all kinds together if asked for."""
    groups: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        groups[answer.sample.kind, answer.reader].append(answer)
    if together:
        for answer in answers:
            groups["all", answer.reader].append(answer)
    rows = []
    for (kind, reader), group in groups.items():
        seconds = [answer.reading.seconds for answer in group]
        row = {"kind": kind, "reader": reader, **_counted([answer.score for answer in group])}
        row["seconds"] = _rounded(median(seconds))
        if reader == OURS and (other := groups.get((kind, REFERENCE))):
            pairs = zip(seconds, other, strict=True)
            row["ratio"] = _rounded(median(ours / it.reading.seconds for ours, it in pairs))
        rows.append(row)
    return rows


def _rounded(value: float) -> float:
    """To three digits: more would be noise, and the records are to be read."""
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
    """Print figures as a table in Markdown, and on which machine they were measured."""
    table = Table(box=box.MARKDOWN)
    table.add_column(figures["title"], no_wrap=True)
    table.add_column("reader")
    for name in ("pictures", "exact", "strict", "accepted", "accepted errors", "error", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in figures["rows"]:
        total, digits, ours = row["pictures"], row["digits"], row["reader"] != REFERENCE
        ratio = f" ({row['ratio']} × {REFERENCE})" if "ratio" in row else ""
        table.add_row(
            row["kind"],
            row["reader"],
            f"{total:,}",
            _share(row["exact"], total),
            _share(row["strict"], total) if digits else "",
            _share(row["accepted"], total) if ours else "",
            _share(row["accepted_errors"], row["accepted"]) if ours else "",
            f"{row['edits'] / digits:.1%}" if digits else "",
            f"{row['seconds']}{ratio}",
        )
    console.print(table)
    console.print(f"\nmodel {figures['model']}, {machine.in_words(figures['machine'])}\n")


def _share(hits: int, total: int) -> str:
    """How many of how many, as a share with its 95 % interval."""
    if total == 0:
        return "0 of 0"
    low, high = shares.wilson(hits, total)
    return f"{hits} of {total}: {hits / total:.1%} ({low:.0%} to {high:.0%})"


def _tell_recorded() -> None:
    """Print the last record of rendered pages and of each folder."""
    kept = [
        side_by_side.latest(path.stem) for path in sorted(side_by_side.RECORDS.glob("pages*.jsonl"))
    ]
    for figures in filter(None, kept):
        _show(figures)
    if not kept:
        console.print("Nothing is recorded yet: python -m benchmarks.pages --record")


def _tile(answer: Answer) -> contact_sheet.Tile:
    """The picture, what is written and what was read, line by line."""
    state = "ACCEPTED" if answer.score.accepted else "for review"
    truth = answer.sample.text.split() or ["no digit"]
    read = answer.reading.text.split() or ["nothing"]
    lines = [f"{answer.sample.kind}, {state}"]
    for name, text in (("truth", truth), ("read", read)):
        joined = f"{name} {' / '.join(text)}"
        cut = [joined[at : at + _WIDE] for at in range(0, len(joined), _WIDE)]
        lines += cut[:_LINES]
    return contact_sheet.Tile(answer.sample.data, tuple(lines))


if __name__ == "__main__":
    typer.run(main)
