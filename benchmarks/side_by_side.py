"""Compare implementations in alternating runs, print the table of results, and record it.

Other work on the machine slows all implementations of one round down alike. Most targets are
therefore ratios: the median over rounds of the ratio within a round. Times are processor times of
this process, unless an implementation waits for something.
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

# Seconds of unmeasured work before each timed run: enough to fill the processor's caches again.
WARM_UP_SECONDS = 0.01
Measurement = Callable[[], float]
"""Runs one implementation once and returns the measured value."""
RecordOption = Annotated[
    bool, typer.Option("--record", help="Append the figures to benchmarks/records.")
]


@dataclass(frozen=True)
class Target:
    """The performance target of a series. Records call targets `bars`.

    Attributes
    ----------
    of
        The value with a limit: the median, the 99th percentile, or the ratio to the series `to`.
    sense, limit
        The value must be at most or at least this limit.
    to
        Name of the other series of a ratio.
    """

    of: Literal["median", "p99", "ratio"]
    sense: Literal["≤", "≥"]
    limit: float
    to: str = ""


@dataclass(frozen=True)
class Series:
    """The samples of one implementation, one per round: a row of the table.

    Attributes
    ----------
    unit
        Unit of the samples: ``"ms"``, ``"MB"``, or ``"a second"``.
    against
        Names of series to print ratios to, besides those of its targets.
    """

    name: str
    samples: Sequence[float]
    unit: str
    targets: tuple[Target, ...] = ()
    against: tuple[str, ...] = ()

    @property
    def median(self) -> float:
        """The median of the samples."""
        return float(np.median(self.samples))

    @property
    def p99(self) -> float:
        """The 99th percentile of the samples, of rates the first: that of the slow side."""
        return float(np.percentile(self.samples, 1 if self.unit == "a second" else 99))

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the series to print ratios to, in order."""
        ratios = [target.to for target in self.targets if target.to]
        return tuple(dict.fromkeys((*ratios, *self.against)))


def timed(action: Callable[[], object]) -> Measurement:
    """Return a measurement of the processor time of an action, in milliseconds.

    The action first runs unmeasured for `WARM_UP_SECONDS`: other implementations have evicted its
    data from the caches, where a function that serves many requests finds them.
    """

    def measure() -> float:
        begun = time.process_time()
        while time.process_time() - begun < WARM_UP_SECONDS:
            action()
        started = time.process_time()
        action()
        return (time.process_time() - started) * 1000

    return measure


def in_turns(measurements: Mapping[str, Measurement], rounds: int) -> dict[str, list[float]]:
    """Run all measurements in each round; return the samples by name, one per round.

    A first round, which warms up, is not counted.
    """
    samples: dict[str, list[float]] = {name: [] for name in measurements}
    for number in track(range(rounds + 1), "in turns", console=console, transient=True):
        for name, measure in measurements.items():
            sample = measure()
            if number:
                samples[name].append(sample)
    return samples


def on_one_core() -> None:
    """Restrict this process and its children to one core, if the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def report(name: str, title: str, rows: Sequence[Series], *, record: bool) -> None:
    """Print the table of all series; with `record`, append the figures to the records of `name`."""
    figures = {"machine": machine.described(), "title": title, "rows": _figures(rows)}
    show(figures)
    if record:
        save(name, figures)


def save(name: str, figures: Mapping[str, Any]) -> None:
    """Append figures to the records of `name`."""
    RECORDS.mkdir(exist_ok=True)
    with (RECORDS / f"{name}.jsonl").open("a") as stream:
        stream.write(json.dumps(figures, ensure_ascii=False) + "\n")


def latest(name: str) -> dict[str, Any] | None:
    """Return the last record of `name`; None if there is none."""
    path = RECORDS / f"{name}.jsonl"
    if not path.exists():
        return None
    figures: dict[str, Any] = json.loads(path.read_text().splitlines()[-1])
    return figures


def show(figures: Mapping[str, Any]) -> None:
    """Print recorded figures as a Markdown table, followed by the machine."""
    table = Table(box=box.MARKDOWN)
    for column in (figures["title"], "median", "p99", "ratio", "target"):
        right = column in ("median", "p99")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in figures["rows"]:
        ratios = ", ".join(f"{_three_digits(it)} × {to}" for to, it in row["ratios"].items())
        targets = ", ".join(f"{it['promised']} {'✓' if it['kept'] else '✗'}" for it in row["bars"])
        median = f"{_three_digits(row['median'])} {row['unit']}"
        p99 = _three_digits(row["p99"]) if row["rounds"] > 1 else ""
        table.add_row(row["name"], median, p99, ratios, targets)
    console.print(table)
    console.print(f"\n{machine.in_words(figures['machine'])}\n")


def _figures(rows: Sequence[Series]) -> list[dict[str, Any]]:
    by_name = {row.name: row for row in rows}
    return [
        {
            "name": row.name,
            "unit": row.unit,
            "rounds": len(row.samples),
            "median": _rounded(row.median),
            "p99": _rounded(row.p99),
            "ratios": {to: _rounded(_ratio(row, by_name[to])) for to in row.compared},
            "bars": [_judge(target, row, by_name) for target in row.targets],
        }
        for row in rows
    ]


def _judge(target: Target, row: Series, by_name: Mapping[str, Series]) -> dict[str, Any]:
    """Return the target as text (`promised`), and whether the series meets it (`kept`)."""
    if target.of == "ratio":
        value, unit = _ratio(row, by_name[target.to]), f" × {target.to}"
    else:
        value, unit = (row.median if target.of == "median" else row.p99), f" {row.unit}"
    is_met = value <= target.limit if target.sense == "≤" else value >= target.limit
    of = f"{target.of} " if target.of == "p99" else ""
    return {"promised": f"{of}{target.sense} {target.limit:,g}{unit}", "kept": is_met}


def _ratio(row: Series, other: Series) -> float:
    """Return the median of the ratios per round; of unequal rounds, the ratio of the medians."""
    if len(row.samples) == len(other.samples):
        return float(np.median(np.divide(row.samples, other.samples)))
    return row.median / other.median


def _rounded(value: float) -> float:
    """Round to four significant digits, to keep the records readable."""
    return float(f"{value:.4g}")


def _three_digits(value: float) -> str:
    """Format with three significant digits, or all digits before the point."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"
