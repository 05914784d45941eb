"""Write the tables of figures in README.md and docs/ from the records.

    python -m benchmarks.tables            write them anew
    python -m benchmarks.tables --check    write nothing; exit with 1 if a document is stale

A table is the text between ``<!-- table: NAME -->`` and ``<!-- end of table -->``, where `NAME` is
one of `TABLES`. The text around the tables is written by hand and stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer

from benchmarks import accuracy, load, machine, pages, pictures, side_by_side
from digits.registry import bundle

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end of table -->)", re.DOTALL)
REAL_GROUPS = ("MNIST", "UCI")
"""How the names of those groups of `benchmarks.pictures` begin that are real handwriting."""


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a document is stale.")
    ] = False,
) -> None:
    """Write all tables in README.md and docs/."""
    stale = []
    for path in documents():
        text = path.read_text()
        filled = fill(text)
        if filled != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(filled)
    for name in stale:
        typer.echo(f"{name} {'is stale: run python -m benchmarks.tables' if check else 'written'}")
    raise typer.Exit(1 if stale and check else 0)


def documents() -> list[Path]:
    """Return the paths of the documents that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def fill(text: str) -> str:
    """Return the text of a document with all of its tables written anew.

    Raises
    ------
    KeyError
        If a table has a name that is not in `TABLES`.
    """
    return BLOCK.sub(lambda it: f"{it[1]}\n{TABLES[it[2]]()}\n{it[3]}", text)


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], note: str) -> str:
    """Format a table whose first column is left-aligned, with a note below it."""
    lines = [_line(columns), f"|{'---|' * len(columns)}", *map(_line, rows)]
    return "\n".join((*lines, "", note, ""))


def _line(cells: Iterable[str]) -> str:
    return f"|{''.join(f' {cell} |' if cell else ' |' for cell in cells)}"


def _missing(name: str, command: str) -> str:
    return f"There is no record of {name} yet: `python -m benchmarks.{command} --record`.\n"


def _series(name: str) -> str:
    """Format the last record of a benchmark that compares series."""
    figures = side_by_side.latest(name)
    if figures is None:
        return _missing(name, name)
    rows = side_by_side.table_rows(figures).items()
    columns = (figures["title"], *side_by_side.COLUMNS)
    note = machine.in_words(figures["machine"])
    return _markdown(columns, ((series, *cells) for series, cells in rows), f"{note}.")


def _load() -> str:
    figures = side_by_side.latest("load")
    if figures is None:
        return _missing("the load test", "load")
    rows = ((name, *cells) for name, cells in load.table_rows(figures).items())
    return _markdown(("under load", "figure"), rows, f"{machine.in_words(figures['machine'])}.")


def _pictures(*, real: bool, digits: bool = True) -> str:
    """Format those groups that are real or rendered, with digits or without."""
    figures = side_by_side.latest("pictures")
    if figures is None:
        return _missing("pictures", "pictures")
    wanted = {
        row["group"]
        for row in figures["rows"]
        if row["group"].startswith(REAL_GROUPS) == real and row["has_digits"] == digits
    }
    rows = pictures.group_rows(figures).items()
    shown = ((name, *cells) for name, cells in rows if name in wanted)
    heading = "real handwriting" if real else "rendered pictures"
    return _markdown((heading, *pictures.GROUP_COLUMNS), shown, _source(figures))


def _rotated() -> str:
    figures = side_by_side.latest("pictures-turned")
    if figures is None:
        return _missing("rotated numbers", "pictures --turned")
    rows = ((turn, *cells) for turn, cells in pictures.rotation_rows(figures).items())
    return _markdown(("rotated by", *pictures.ROTATION_COLUMNS), rows, _source(figures))


def _pages(*, real: bool) -> str:
    """Format the last record of each folder of real pictures, or of rendered pages."""
    paths = sorted(side_by_side.RECORDS.glob("pages-real-*.jsonl" if real else "pages.jsonl"))
    records = [it for it in (side_by_side.latest(path.stem) for path in paths) if it]
    if not records:
        name, option = (
            ("real pages", "pages --real FOLDER") if real else ("rendered pages", "pages")
        )
        return _missing(name, option)
    return "\n".join(
        _markdown(
            (figures["title"], *pages.COLUMNS),
            ((kind, *cells) for kind, cells in pages.table_rows(figures)),
            _source(figures),
        )
        for figures in records
    )


def _source(figures: dict[str, Any]) -> str:
    """Format model, machine and date; of a transcribed record, where the figures were published."""
    if source := figures.get("source"):
        date = figures["machine"]["date"]
        return f"Model {figures['model']}, {date}, transcribed from {source}."
    return f"Model {figures['model']}, {machine.in_words(figures['machine'])}."


def _accuracy() -> str:
    """Format the shipped model's figures beside those of each recipe's five seeds."""
    report = json.loads((bundle.SHIPPED / "report.json").read_text())
    manifest = json.loads((bundle.SHIPPED / "manifest.json").read_text())
    shipped = {"sets": {"test": report["test"]}, "seconds": manifest["training"]["seconds"]}
    recipes = {name: accuracy.complete_runs(name, "release") for name in ("deep", "reference")}
    columns = {"shipped": [shipped]} | {
        f"`{name}`, {len(runs)} seeds": runs for name, runs in recipes.items() if runs
    }
    names = {
        "accuracy": ("accuracy", 100, 2, "%"),
        "negative log-likelihood, nats": ("negative_log_likelihood", 1, 4, ""),
        "expected calibration error (15 equal-mass bins)": (
            *("expected_calibration_error", 100, 2, "%"),
        ),
    }
    rows = [
        [title, *(_spread([run["sets"]["test"][key] * scale for run in runs], decimals, unit)
                  for runs in columns.values())]
        for title, (key, scale, decimals, unit) in names.items()
    ]  # fmt: skip
    minutes = [f"{mean(run['seconds'] for run in runs) / 60:.0f}" for runs in columns.values()]
    rows.append(["minutes of training on two cores", *minutes])
    seen = sorted({machine.in_words(run["machine"]) for runs in recipes.values() for run in runs})
    note = f"Shipped: model {manifest['version']}. Seeds: {'; '.join(seen)}."
    return _markdown(("MNIST's 10,000 test images", *columns), rows, note)


def _spread(values: list[float], decimals: int, unit: str) -> str:
    """Format the mean of the values, with their standard deviation if there are several."""
    spread = f" ± {stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return f"{mean(values):.{decimals}f}{spread}{unit}"


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": _accuracy,
    "real pages": partial(_pages, real=True),
    "rendered pages": partial(_pages, real=False),
    "real handwriting": partial(_pictures, real=True),
    "rendered pictures": partial(_pictures, real=False),
    "no digit": partial(_pictures, real=False, digits=False),
    "rotated": _rotated,
    "load": _load,
    **{
        name: partial(_series, name)
        for name in ("coldstart", "size", "latency", "throughput", "batch", "memory")
    },
}


if __name__ == "__main__":
    typer.run(main)
