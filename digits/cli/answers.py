"""What became of each picture, as a table, as JSON and as CSV; written while pictures are read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from rich.table import Table
from rich.text import Text

from digits.cli import files
from digits.results import ErrorInfo, Result

COLUMNS = ("path", "text", "confidence", "needs_review", "reason", "error", "message")
# The widths of a table's columns are known only when all its rows are, so long ones are divided.
TABLE_ROWS = 1000


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


def write_json(answers: Iterable[Answer], stream: IO[str]) -> None:
    """Write one list; it is closed even where the reading is broken off."""
    separator = "[\n"
    try:
        for answer in answers:
            stream.write(separator + json.dumps(answer.to_json(), ensure_ascii=False))
            separator = ",\n"
    finally:
        stream.write("[]\n" if separator == "[\n" else "\n]\n")


def write_csv(answers: Iterable[Answer], stream: IO[str]) -> None:
    """Write one line a picture, below a line of names."""
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(answer.to_row() for answer in answers)


def write_table(answers: Iterable[Answer], stream: IO[str]) -> None:
    """Write a table for people, or several where there are many pictures."""
    rest = iter(answers)
    while page := list(islice(rest, TABLE_ROWS)):
        files.draw(_table(page), stream)


def _table(page: Iterable[Answer]) -> Table:
    table = Table("picture", "digits", "confidence", "for review")
    for row in (answer.to_row() for answer in page):
        verdict = Text(row["reason"])
        if row["error"]:
            verdict = Text.assemble((row["error"], "red"), f": {row['message']}")
        path = Text("".join(_visible(row["path"])))
        table.add_row(path, Text(row["text"], "bold"), row["confidence"], verdict)
    return table


def _visible(text: str) -> Iterator[str]:
    """Spell out what would move the cursor or change the colours of a terminal."""
    for letter in text:
        yield letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")


WRITERS: dict[str, Callable[[Iterable[Answer], IO[str]], None]] = {
    "table": write_table,
    "json": write_json,
    "csv": write_csv,
}
