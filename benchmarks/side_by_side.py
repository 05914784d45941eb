"""Ways of doing one thing, measured in turns; told with their ratios, and kept.

Other work on the machine makes every time longer, but it meets all ways of the same round alike. So
what is promised is mostly a ratio, and a ratio is the median of those of the rounds. Where nothing
is waited for, times are the process's own, in which waiting for a turn on the core does not count.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import machine

RECORDS = Path(__file__).parent / "records"
console = Console(width=220, soft_wrap=True, highlight=False)

WARMING = 0.01  # seconds
Way = Callable[[], float]
"""Does it once, and gives what was measured of it."""
Record = Annotated[bool, typer.Option("--record", help="Add the figures to benchmarks/records.")]


@dataclass(frozen=True)
class Bar:
    """What was promised of a row.

    Attributes
    ----------
    of
        Its median, its 99th percentile, or its ratio to the row `to`.
    """

    of: Literal["median", "p99", "ratio"]
    sense: Literal["≤", "≥"]
    limit: float
    to: str = ""


@dataclass(frozen=True)
class Row:
    """What was measured of one way, round by round.

    Attributes
    ----------
    unit
        Of the samples: ``"ms"``, ``"MB"``, or ``"a second"``.
    against
        Names of rows that it is compared with, besides those that its bars name.
    """

    name: str
    samples: Sequence[float]
    unit: str
    bars: tuple[Bar, ...] = ()
    against: tuple[str, ...] = ()

    @property
    def median(self) -> float:
        """Of the samples."""
        return float(np.median(self.samples))

    @property
    def p99(self) -> float:
        """The 99th percentile of the samples; the slow side, also of what is counted a second."""
        return float(np.percentile(self.samples, 1 if self.unit == "a second" else 99))

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the rows that this one is a multiple of, in order."""
        return tuple(dict.fromkeys((*(bar.to for bar in self.bars if bar.to), *self.against)))


def timed(action: Callable[[], object]) -> Way:
    """Measure the milliseconds of this process's time that an action takes.

    It is done before for a while, unmeasured: the turns of the other ways have emptied the core's
    caches of it, which a function that serves one request after another finds full.
    """

    def way() -> float:
        begun = time.process_time()
        while time.process_time() - begun < WARMING:
            action()
        started = time.process_time()
        action()
        return (time.process_time() - started) * 1000

    return way


def in_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """What was measured of each way, one sample a round; a first round warms up and is dropped."""
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in track(range(rounds + 1), "in turns", console=console, transient=True):
        for name, way in ways.items():
            sample = way()
            if turn:
                samples[name].append(sample)
    return samples


def on_one_core() -> None:
    """Keep this process, and what it starts, to one core, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def tell(name: str, title: str, rows: Sequence[Row], *, record: bool) -> None:
    """Print the table, and add its figures to the records if asked to."""
    figures = {"machine": machine.described(), "title": title, "rows": _figures(rows)}
    show(figures)
    if record:
        keep(name, figures)


def keep(name: str, figures: Mapping[str, Any]) -> None:
    """Add figures to the records."""
    RECORDS.mkdir(exist_ok=True)
    with (RECORDS / f"{name}.jsonl").open("a") as stream:
        stream.write(json.dumps(figures, ensure_ascii=False) + "\n")


def latest(name: str) -> dict[str, Any] | None:
    """What was recorded last under that name; None if nothing ever was."""
    path = RECORDS / f"{name}.jsonl"
    if not path.exists():
        return None
    figures: dict[str, Any] = json.loads(path.read_text().splitlines()[-1])
    return figures


def show(figures: Mapping[str, Any]) -> None:
    """Print recorded figures as a table in Markdown, and on which machine they were measured."""
    table = Table(box=box.MARKDOWN)
    for column in (figures["title"], "median", "p99", "ratio", "promised"):
        right = column in ("median", "p99")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in figures["rows"]:
        ratios = ", ".join(f"{_plain(it)} × {to}" for to, it in row["ratios"].items())
        kept = ", ".join(f"{it['promised']} {'✓' if it['kept'] else '✗'}" for it in row["bars"])
        p99 = _plain(row["p99"]) if row["rounds"] > 1 else ""
        table.add_row(row["name"], f"{_plain(row['median'])} {row['unit']}", p99, ratios, kept)
    console.print(table)
    console.print(f"\n{machine.in_words(figures['machine'])}\n")


def _figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    by_name = {row.name: row for row in rows}
    return [
        {
            "name": row.name,
            "unit": row.unit,
            "rounds": len(row.samples),
            "median": _rounded(row.median),
            "p99": _rounded(row.p99),
            "ratios": {to: _rounded(_ratio(row, by_name[to])) for to in row.compared},
            "bars": [_judged(bar, row, by_name) for bar in row.bars],
        }
        for row in rows
    ]


def _judged(bar: Bar, row: Row, by_name: Mapping[str, Row]) -> dict[str, Any]:
    if bar.of == "ratio":
        value, unit = _ratio(row, by_name[bar.to]), f" × {bar.to}"
    else:
        value, unit = (row.median if bar.of == "median" else row.p99), f" {row.unit}"
    kept = value <= bar.limit if bar.sense == "≤" else value >= bar.limit
    of = f"{bar.of} " if bar.of == "p99" else ""
    return {"promised": f"{of}{bar.sense} {bar.limit:,g}{unit}", "kept": kept}


def _ratio(row: Row, other: Row) -> float:
    """Of two rows of the same rounds: the median of the rounds' own ratios."""
    if len(row.samples) == len(other.samples):
        return float(np.median(np.divide(row.samples, other.samples)))
    return row.median / other.median


def _rounded(value: float) -> float:
    """To four digits: more would be noise, and the records are to be read."""
    return float(f"{value:.4g}")


def _plain(value: float) -> str:
    """As many decimals as three digits need, and none where there are three before the point."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"
