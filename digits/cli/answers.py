"""Write each image's result or error as it arrives: as a table, JSON, or rows of a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from rich.table import Table
from rich.text import Text

from digits import tabular
from digits.cli import files
from digits.errors import BadRequest
from digits.results import ErrorInfo, Result

TABLE = (
    tabular.Column("path"),
    tabular.Column("text", "reading"),
    tabular.Column("confidence", "number", decimals=4),
    tabular.Column("needs_review", "flag"),
    tabular.Column("reason"),
    tabular.Column("error"),
    tabular.Column("message"),
)
COLUMNS = tuple(column.name for column in TABLE)
# Rows a table. Column widths depend on all rows, so long output is divided into several tables.
TABLE_ROWS = 1000


@dataclass(frozen=True)
class Answer:
    """The result or the error of one image."""

    path: str
    outcome: Result | ErrorInfo

    def to_json(self) -> dict[str, Any]:
        """Return the item of the JSON list."""
        if isinstance(self.outcome, ErrorInfo):
            return {"path": self.path, "error": self.outcome.model_dump()}
        return {"path": self.path, **self.outcome.model_dump(mode="json")}

    def to_row(self) -> tuple[tabular.Cell, ...]:
        """Return one cell for each of `COLUMNS`; the confidence is the least certain digit's."""
        if isinstance(self.outcome, ErrorInfo):
            return (self.path, None, None, None, None, self.outcome.code, self.outcome.message)
        least = min((digit.confidence for digit in self.outcome.digits), default=None)
        result = self.outcome
        return (self.path, result.text, least, result.needs_review, result.reason, None, None)


def write(answers: Iterable[Answer], form: str, out: Path | None, *, bom: bool = False) -> None:
    """Write answers to a file, which appears whole or not at all, or to standard output.

    Parameters
    ----------
    form
        ``"table"``, ``"json"`` or one of `tabular.ENDINGS`.
    bom
        Start CSV or TSV with a byte-order mark.

    Raises
    ------
    BadRequest
        If the form cannot be written there; raised before anything is read.
    """
    if bom and form not in tabular.DELIMITERS:
        raise BadRequest("--bom applies to CSV and TSV only.")
    if out is not None and form in tabular.ENDINGS:
        with files.whole(out) as file, tabular.writer(form, file, TABLE, bom=bom) as rows:
            rows(answer.to_row() for answer in answers)
        return
    if form in tabular.ENDINGS and form not in tabular.DELIMITERS:
        raise BadRequest(f"{form.upper()} is a binary format: name a file with --out FILE.")
    with files.whole_text(out) if out else files.standard_output() as stream:
        if form == "json":
            _write_json(answers, stream)
        elif form == "table":
            _write_table(answers, stream)
        else:
            if bom:
                _write_bom(stream)
            rows = tabular.delimited(stream, TABLE, tabular.DELIMITERS[form])
            rows(answer.to_row() for answer in answers)


def _write_bom(stream: IO[str]) -> None:
    if not files.is_utf8(stream):
        raise BadRequest(
            "--bom needs UTF-8, which standard output does not use: name a file with --out FILE."
        )
    stream.write("\ufeff")


def _write_json(answers: Iterable[Answer], stream: IO[str]) -> None:
    """Write one JSON list; interrupted, it lacks its closing bracket and so is not valid JSON."""
    ascii_only = not files.is_utf8(stream)
    separator = "[\n"
    for answer in answers:
        stream.write(separator + json.dumps(answer.to_json(), ensure_ascii=ascii_only))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_table(answers: Iterable[Answer], stream: IO[str]) -> None:
    """Write a table for people, or several where there are many pictures."""
    rest = iter(answers)
    while page := list(islice(rest, TABLE_ROWS)):
        files.draw(_table(page), stream)


def _table(page: Iterable[Answer]) -> Table:
    table = Table("image", "digits", "confidence", "for review")
    for answer in page:
        row = dict(zip(COLUMNS, map(_shown, TABLE, answer.to_row()), strict=True))
        verdict = Text(row["reason"])
        if row["error"]:
            verdict = Text.assemble((row["error"], "red"), f": {row['message']}")
        path = Text(files.visible(row["path"]))
        table.add_row(path, Text(row["text"], "bold"), row["confidence"], verdict)
    return table


def _shown(column: tabular.Column, cell: tabular.Cell) -> str:
    return cell if isinstance(cell, str) else column.as_text(cell)
