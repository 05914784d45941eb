"""Accuracy of a model on many kinds of pictures, by group and by condition.

    python -m benchmarks.pictures                       the shipped model
    python -m benchmarks.pictures bundle --count 300    another model, on fewer rendered pictures
    python -m benchmarks.pictures --misses misses.png   and a contact sheet of errors
    python -m benchmarks.pictures --development         on other pictures, for tuning
    python -m benchmarks.pictures --turned              only numbers, at four rotations
    python -m benchmarks.pictures --record              and append the figures to benchmarks/records

Each picture is a file that `Classifier.classify` reads, as on Lambda and in the app. Photos are
rendered from MNIST's 5,000 held-out digits, from digits drawn stroke by stroke, and from held-out
typefaces, which letters are of, too. Pictures for development are rendered from training digits and
typefaces, and MNIST's training images replace its test images. The real handwriting, MNIST's 10,000
test images and UCI's 1,797 digits, is always read in full.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits

from benchmarks import contact_sheet, machine, mnist, shares, side_by_side
from digits import Classifier
from digits.quiet import nothing_on_stderr
from digits.registry import bundle
from digits.results import Mode
from training_job import glyphs, strokes, synthetic_photos
from training_job.external_evaluation import LEVELS
from training_job.synthetic_photos import Level

# Shares of digits that are drawn stroke by stroke, and of typefaces; the others are MNIST's.
_DRAWN, _TYPEFACES = 0.25, 0.15
_ENLARGED = (
    (4, Image.Resampling.BICUBIC),
    (12, Image.Resampling.BILINEAR),
    (20, Image.Resampling.NEAREST),
    (50, Image.Resampling.BICUBIC),
)
_MOST = 160  # pictures on the contact sheet
GROUP_COLUMNS = ("pictures", "correct", "95 % interval", "accepted", "selective accuracy")
ROTATION_COLUMNS = (
    "pictures",
    "for review without the check",
    "for review",
    "95 % interval",
    "reason `turned`",
)


@dataclass(frozen=True)
class Case:
    """One picture with its truth, and the group that it is counted in.

    `text` is empty if there is no digit; `conditions` are those of a `SyntheticPhoto`.
    """

    group: str
    data: bytes
    text: str
    mode: Mode = "single"
    conditions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseResult:
    """The model's answer to a case."""

    case: Case
    text: str | None
    accepted: bool

    @property
    def right(self) -> bool:
        """Whether the text is correct, or for a case without digits, not accepted."""
        return self.text == self.case.text if self.case.text else not self.accepted


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")] = bundle.SHIPPED,
    count: Annotated[int, typer.Option(help="Number of photos per kind and level.")] = 1_000,
    misses: Annotated[
        Path | None, typer.Option(help="PNG file for a contact sheet of errors.")
    ] = None,
    tune: Annotated[
        bool, typer.Option("--development", help="Use pictures that models may be tuned on.")
    ] = False,
    turned: Annotated[
        bool,
        typer.Option(
            "--turned", help="Only numbers, upright and rotated by 90, 180 and 270 degrees."
        ),
    ] = False,
    record: side_by_side.RecordOption = False,
) -> None:
    """Classify all pictures and print the tables."""
    console = Console(width=110, highlight=False)
    model = bundle.load(folder).manifest.version
    if turned:
        rows = _rotated(folder, count, console, held_out=not tune)
        figures = {"machine": machine.described(), "model": model, "rows": rows}
        cells = rotation_rows(figures)
        console.print(_table(f"Rotated numbers, model {model}", ROTATION_COLUMNS, cells))
        console.print(machine.in_words(machine.described()))
        if record:
            side_by_side.save("pictures-turned", figures)
        return
    jobs = [(kind, number) for kind, total in _totals(count).items() for number in range(total)]
    with ProcessPoolExecutor(initializer=_load, initargs=(folder, not tune)) as pool:
        done = pool.map(_results_of, jobs, chunksize=20)
        shown = track(done, "rendering and reading", len(jobs), console=console, transient=True)
        results = [one for several in shown for one in several]
    figures = {"machine": machine.described(), "model": model, "rows": _counted(results)}
    console.print(_table(f"Model {model}", GROUP_COLUMNS, group_rows(figures)))
    console.print(_by_condition(results))
    console.print(machine.in_words(machine.described()))
    if record:
        side_by_side.save("pictures", figures)
    if misses is not None:
        wrong = [one for one in results if not one.right]
        misses.write_bytes(contact_sheet.drawn([_tile(one) for one in wrong[:_MOST]]))
        console.print(f"{min(len(wrong), _MOST)} of {len(wrong)} misses are in {misses}")


def group_rows(figures: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the cells of `GROUP_COLUMNS` for each group of recorded figures.

    A picture without a digit is correct if it needs review; selective accuracy is left out there.
    """
    return {
        row["group"]: (
            f"{row['pictures']:,}",
            *_share(row["correct"], row["pictures"]),
            f"{row['accepted'] / row['pictures']:.1%}",
            f"{row['accepted_correct'] / row['accepted']:.2%}"
            if row["accepted"] and row["has_digits"]
            else "",
        )
        for row in figures["rows"]
    }


def rotation_rows(figures: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the cells of `ROTATION_COLUMNS` for each rotation of recorded figures."""
    return {
        f"{row['degrees']}°": (
            f"{row['pictures']:,}",
            f"{row['review_otherwise'] / row['pictures']:.1%}",
            *_share(row["review"], row["pictures"], decimals=1),
            f"{row['reason_turned'] / row['pictures']:.1%}",
        )
        for row in figures["rows"]
    }


def _rotated(folder: Path, count: int, console: Console, *, held_out: bool) -> list[dict[str, int]]:
    """Return the counts of reviews by rotation."""
    jobs = [(f"number {level}", number) for level in LEVELS for number in range(count // 2)]
    with ProcessPoolExecutor(initializer=_load, initargs=(folder, held_out)) as pool:
        rotated = pool.map(_turned, jobs, chunksize=10)
        shown = track(rotated, "turning and reading", len(jobs), console=console, transient=True)
        results = list(shown)
    names = ("review_otherwise", "review", "reason_turned")
    return [
        {
            "degrees": 90 * quarter,
            "pictures": len(own),
            **{name: sum(one[place] for one in own) for place, name in enumerate(names)},
        }
        for quarter, own in enumerate(zip(*results, strict=True))
    ]


def _totals(count: int) -> dict[str, int]:
    """Return the number of pictures of each kind."""
    totals = {f"photo {level}": count for level in LEVELS}
    totals |= {f"number {level}": count // 2 for level in LEVELS}
    totals |= {"mnist": 10_000, "uci": 1_797}
    return totals | {"blank": count // 2, "letter": count // 2, "scribble": count // 2}


def _cases(kind: str, number: int, *, held_out: bool) -> Iterator[Case]:
    """Yield the pictures number `number` of a kind, the same ones in each call."""
    rng = np.random.default_rng([number, sum(kind.encode()), *([] if held_out else [1])])
    seed = int(rng.integers(2**31))
    what, _, level = kind.partition(" ")
    if what == "photo":
        plane, truth = _digit(rng, held_out=held_out)
        sample = synthetic_photos.photo(plane, truth, level=_level(level), seed=seed)
        yield Case(f"one digit, {level}", sample.data, sample.text, "single", sample.conditions)
        yield Case(f"the same as a number, {level}", sample.data, sample.text, "multiple")
    elif what == "number":
        pairs = [_digit(rng, held_out=held_out) for _ in range(int(rng.integers(2, 7)))]
        lines = 2 if len(pairs) > 3 and rng.random() < 0.4 else 1
        sample = synthetic_photos.number(
            [plane for plane, _ in pairs],
            [digit for _, digit in pairs],
            level=_level(level),
            seed=seed,
            lines=lines,
        )
        yield Case(f"numbers, {level}", sample.data, sample.text, "multiple", sample.conditions)
    elif what == "mnist":
        images, truths = mnist.test_images() if held_out else synthetic_photos.load(held_out=False)
        pixels, label = images[number], str(truths[number])
        yield Case("MNIST's test images", mnist.png(pixels), label)
        yield Case("MNIST, black on white", mnist.png(255 - pixels), label)
    elif what == "uci":
        yield from _uci(number)
    elif what == "blank":
        yield from _nothing(number, seed, rng)
    else:
        plane = _letter(rng, held_out=held_out) if what == "letter" else strokes.scribble(rng)
        sample = synthetic_photos.photo(plane, "", level=LEVELS[number % 2], seed=seed)
        yield Case({"letter": "letters and signs", "scribble": "scribbles"}[what], sample.data, "")


def _digit(
    rng: np.random.Generator, *, held_out: bool
) -> tuple[synthetic_photos.Digits28 | synthetic_photos.Plane, int]:
    """Draw a digit, of the held-out or the training sources; return it and its label."""
    chance = rng.random()
    if chance < _TYPEFACES:
        drawing, truth = glyphs.random_digit(rng, held_out=held_out)
        return synthetic_photos.stroke(drawing), truth
    drawing, truth = synthetic_photos.random_digit(rng, held_out=held_out)
    return (strokes.digit(truth, rng) if chance < _TYPEFACES + _DRAWN else drawing), truth


def _letter(rng: np.random.Generator, *, held_out: bool) -> synthetic_photos.Plane:
    letters = glyphs.load(held_out=held_out, digits=False)
    return synthetic_photos.stroke(letters.images[rng.integers(len(letters))])


def _uci(number: int) -> Iterator[Case]:
    """Yield one of UCI's digits, 8×8 pixels in 17 levels (Alpaydin and Kaynak), and variants."""
    digits = load_digits()
    label = str(digits.target[number])
    pixels = np.round(digits.images[number] * (255 / 16)).astype(np.uint8)
    small = Image.fromarray(pixels)
    yield Case("UCI's digits, 8x8", mnist.png(pixels), label)
    yield Case("UCI, black on white", mnist.png(255 - pixels), label)
    for times, method in _ENLARGED:
        large = np.asarray(small.resize((8 * times, 8 * times), method))
        yield Case("UCI, enlarged", mnist.png(large if times < 15 else 255 - large), label)


def _nothing(number: int, seed: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yield a blank page, and a picture of one shade, a gradient or noise."""
    level = LEVELS[number % 3]
    sample = synthetic_photos.blank(level=level, seed=seed)
    yield Case(f"blank pages, {level}", sample.data, "", "single", sample.conditions)
    height, width = (int(side) for side in rng.integers(8, 700, 2))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    low, high = np.sort(rng.uniform(0, 255, 2))
    slope = x * np.cos(angle) + y * np.sin(angle)
    slope = (slope - slope.min()) / np.ptp(slope)
    planes = {
        0: np.full((height, width), low),
        1: low + (high - low) * slope,
        2: rng.normal(low, rng.uniform(1, 60), (height, width)),
        3: rng.integers(0, 256, (height, width)),
    }
    plane = planes[number % 4].clip(0, 255)
    yield Case("one shade, gradients, noise", mnist.png(np.round(plane).astype(np.uint8)), "")


def _level(name: str) -> Level:
    return next(level for level in LEVELS if level == name)


_classifier: Classifier
_held_out: bool


def _load(folder: Path, held_out: bool) -> None:
    """Load the classifier in a worker process: it cannot be pickled."""
    global _classifier, _held_out  # noqa: PLW0603
    _held_out = held_out
    with nothing_on_stderr():
        _classifier = Classifier(bundle.load(folder))


def _results_of(job: tuple[str, int]) -> list[CaseResult]:
    results = []
    for case in _cases(*job, held_out=_held_out):
        result = _classifier.classify(case.data, mode=case.mode)
        accepted = result.text is not None and not result.needs_review
        results.append(CaseResult(case, result.text, accepted))
    return results


Reviews = tuple[bool, bool, bool]
"""Whether a number needs review for another reason than `turned`, for any reason, for `turned`."""


def _turned(job: tuple[str, int]) -> list[Reviews]:
    """Classify a number rotated by 0, 90, 180 and 270 degrees."""
    (case,) = _cases(*job, held_out=_held_out)
    results = []
    for quarter in range(4):
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(case.data)) as upright:
            whole = ImageOps.exif_transpose(upright).convert("RGB")
        whole.rotate(90 * quarter, expand=True).save(buffer, "PNG")
        result = _classifier.classify(buffer.getvalue(), mode="multiple")
        otherwise = {digit.reason for digit in result.digits} - {None, "turned"}
        results.append((
            bool(otherwise) or not result.digits, result.needs_review, result.reason == "turned"
        ))  # fmt: skip
    return results


def _counted(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """Return the counts of each group, in the order in which the groups were read."""
    groups: dict[str, list[CaseResult]] = defaultdict(list)
    for one in results:
        groups[one.case.group].append(one)
    return [
        {
            "group": name,
            "has_digits": bool(group[0].case.text),
            "pictures": len(group),
            "correct": sum(one.right for one in group),
            "accepted": sum(one.accepted for one in group),
            "accepted_correct": sum(one.right for one in group if one.accepted),
        }
        for name, group in groups.items()
    ]


def _table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    table = Table("", title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _by_condition(results: Sequence[CaseResult]) -> Table:
    table = Table(title="Accuracy by condition", title_justify="left")
    for name in ("", "", "one digit", "95 % interval", "numbers", "95 % interval"):
        table.add_column(name)
    found: dict[tuple[str, str], dict[Mode, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for one in results:
        if one.case.text:
            for condition in one.case.conditions.items():
                found[condition][one.case.mode].append(one.right)
    for (name, value), modes in sorted(found.items()):
        single, multiple = modes["single"], modes["multiple"]
        table.add_row(
            name, value, *_share(sum(single), len(single)), *_share(sum(multiple), len(multiple))
        )
    return table


def _share(hits: int, total: int, *, decimals: int = 2) -> tuple[str, str]:
    """Format a share and its 95 % confidence interval."""
    if total == 0:
        return "", ""
    low, high = shares.wilson(hits, total)
    return f"{hits / total:.{decimals}%}", f"{low:.1%} to {high:.1%}"


def _tile(one: CaseResult) -> contact_sheet.Tile:
    """Return the picture with its truth and the answer, for the contact sheet."""
    read = (one.text or "blank").replace("\n", " / ")
    caption = f"{one.case.text or 'no digit'} read as {read}"
    return contact_sheet.Tile(one.case.data, (caption, one.case.group[:28]))


if __name__ == "__main__":
    typer.run(main)
