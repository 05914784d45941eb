"""Progress output of training runs: text and a progress bar on a terminal, otherwise JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class RunProgress:
    """Reports a run's progress on standard output."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True, highlight=False)
        self._started = time.monotonic()

    def say(self, message: str, **fields: Any) -> None:
        """Print a message; the JSON line also has `fields`."""
        if self._console.is_terminal:
            self._console.print(message)
            return
        seconds = round(time.monotonic() - self._started, 1)
        print(json.dumps({"message": message, "seconds": seconds, **fields}), flush=True)  # noqa: T201

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Print the figures of one epoch."""
        self.say(
            f"epoch {row['epoch']:.0f}/{epochs}: held-out accuracy {row['held_out_accuracy']:.2%}",
            **row,
        )

    @contextmanager
    def bar(self, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
        """Show a progress bar in the block; yields a function to call after each step."""
        columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Bar(
            *columns, console=self._console, transient=True, disable=not sys.stdout.isatty()
        ) as bar:
            task = bar.add_task("", total=total, completed=done)
            yield lambda: bar.advance(task)
