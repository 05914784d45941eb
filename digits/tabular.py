"""Tables as files: CSV and TSV that a spreadsheet opens safely, XLSX and Parquet.

Cells come from strangers (file names, keys, messages). In CSV and TSV a cell that a spreadsheet
would take for a formula starts with an apostrophe; XLSX and Parquet say of each cell what it is.
The libraries that write these two are imported when such a file is written.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Literal

from digits.errors import BadRequest

Cell = str | float | bool | None
Row = Sequence[Cell]
Write = Callable[[Iterable[Row]], None]

DELIMITERS = {"csv": ",", "tsv": "\t"}
ENDINGS = (*DELIMITERS, "xlsx", "parquet")

_BATCH = 1_000  # rows of a Parquet row group that are kept in memory
_XLSX_ROWS = 2**20  # of a sheet, the names of the columns among them
# What spreadsheets take for the start of a formula, the full-width signs of East Asian ones too
# (OWASP, "CSV Injection"). An apostrophe before it is escaped as well, so that `restored` can tell.
_FORMULA = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?|-?")
_EXACT_DIGITS = 15  # significant ones that a spreadsheet's number keeps


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name
        What stands above it.
    kind
        Type of its cells: text; a reading, which is text that is mostly a number; a float; a bool.
        None is an empty cell.
    decimals
        Of a float, as text.
    flags
        False and true, as text.
    """

    name: str
    kind: Literal["text", "reading", "number", "flag"] = "text"
    decimals: int = 6
    flags: tuple[str, str] = ("false", "true")

    def spelled(self, cell: Cell) -> str:
        """The cell in CSV."""
        if cell is None:
            return ""
        if isinstance(cell, bool):
            return self.flags[cell]
        return f"{cell:.{self.decimals}f}" if isinstance(cell, float) else defused(cell)


def defused(cell: str) -> str:
    """The cell as a spreadsheet shows it and never evaluates it; a plain number stays one."""
    return f"'{cell}" if _is_formula(cell) else cell


def restored(cell: str) -> str:
    """The cell before it was `defused`."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(cell: str) -> bool:
    return bool(_FORMULA.match(cell)) and not _NUMBER.fullmatch(cell)


@contextmanager
def writer(
    ending: str, stream: IO[bytes], columns: Sequence[Column], *, bom: bool = False
) -> Iterator[Write]:
    """Write rows, some at a time, to a file of the kind that `ending` names.

    Parameters
    ----------
    ending
        One of `ENDINGS`.
    stream
        Of the file; it stays open. What is in it is whole at the end of the block.
    columns
        The columns, in the order of each row's cells.
    bom
        Start CSV and TSV with a byte-order mark, by which Excel knows UTF-8.

    Raises
    ------
    BadRequest
        If the library for the file is not installed, or an XLSX sheet is full.
    OSError
        If the file cannot be written.
    """
    if ending in DELIMITERS:
        text = io.TextIOWrapper(stream, "utf-8-sig" if bom else "utf-8", newline="")
        yield delimited(text, columns, DELIMITERS[ending])
        text.flush()
        text.detach()
    else:
        with (_xlsx if ending == "xlsx" else _parquet)(stream, columns) as write:
            yield write


def delimited(stream: IO[str], columns: Sequence[Column], delimiter: str) -> Write:
    """Write the columns' names to a stream of text; returns what writes rows below them."""
    table = csv.writer(_Lines(stream), delimiter=delimiter)
    table.writerow(column.name for column in columns)

    def spelled(row: Row) -> Iterator[str]:
        return (column.spelled(cell) for column, cell in zip(columns, row, strict=True))

    return lambda rows: table.writerows(map(spelled, rows))


class _Lines:
    r"""Ends lines by \n; a `csv.writer` told to do so would leave a lone \r without quotes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        """Write one line that a `csv.writer` has ended."""
        return self._stream.write(line.removesuffix("\r\n") + "\n")


@contextmanager
def _xlsx(stream: IO[bytes], columns: Sequence[Column]) -> Iterator[Write]:
    try:
        import xlsxwriter  # noqa: PLC0415 - for XLSX only
        from xlsxwriter.exceptions import FileCreateError  # noqa: PLC0415
    except ImportError as error:
        raise _missing("XLSX", "xlsxwriter") from error
    # Rows go to a temporary file at once; in memory is what is packed, some 50 bytes a row. Packing
    # to the stream itself would leave an open archive behind when the disk is full.
    packed = io.BytesIO()
    book = xlsxwriter.Workbook(packed, {"constant_memory": True})
    sheet = book.add_worksheet("digits")
    bold, text = book.add_format({"bold": True}), book.add_format({"num_format": "@"})
    sheet.freeze_panes(1, 0)
    # Readings that are text on purpose; Excel would mark each with a green corner.
    sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{_XLSX_ROWS}"})
    for place, column in enumerate(columns):
        sheet.set_column(place, place, 30 if place == 0 else 14)
        sheet.write_string(0, place, column.name, bold)
    used = 1

    def write(rows: Iterable[Row]) -> None:
        nonlocal used
        for row in rows:
            if used == _XLSX_ROWS:
                raise BadRequest(
                    f"An XLSX sheet has room for {_XLSX_ROWS - 1:,} rows; write a .csv file."
                )
            for place, (column, cell) in enumerate(zip(columns, row, strict=True)):
                if cell is None or cell == "":
                    continue
                if isinstance(cell, bool):
                    sheet.write_boolean(used, place, cell)
                elif isinstance(cell, float):
                    sheet.write_number(used, place, cell)
                elif column.kind == "reading" and _is_kept_by_a_number(cell):
                    sheet.write_number(used, place, float(cell))
                else:
                    sheet.write_string(used, place, cell, text)
            used += 1

    try:
        yield write
    finally:
        try:
            book.close()  # which removes the temporary file, too
        except FileCreateError as error:  # how it calls any OSError
            raise (error.args[0] if isinstance(error.args[0], OSError) else OSError()) from error
    stream.write(packed.getbuffer())


def _is_kept_by_a_number(text: str) -> bool:
    """Whether a spreadsheet's number shows every digit of it: no leading zero, 15 at the most."""
    if not re.fullmatch(r"0|-?[1-9][0-9]*|-?[0-9]+[.][0-9]+", text):
        return False
    return sum(map(str.isdigit, text)) <= _EXACT_DIGITS and f"{float(text):.15g}" == text


@contextmanager
def _parquet(stream: IO[bytes], columns: Sequence[Column]) -> Iterator[Write]:
    arrow, parquet = pyarrow()
    kinds = {"flag": arrow.bool_(), "number": arrow.float64()}
    schema = arrow.schema([(one.name, kinds.get(one.kind, arrow.string())) for one in columns])
    with parquet.ParquetWriter(stream, schema) as table:

        def write(rows: Iterable[Row]) -> None:
            rest = iter(rows)
            while some := list(islice(rest, _BATCH)):
                cells = [list(column) for column in zip(*some, strict=True)]
                table.write_table(arrow.table(cells, schema=schema))

        yield write


def pyarrow() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`.

    Raises
    ------
    BadRequest
        If they are not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - large, and for Parquet only
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise _missing("Parquet", "pyarrow") from error
    return pyarrow, pyarrow.parquet


def _missing(kind: str, package: str) -> BadRequest:
    return BadRequest(
        f"{kind} needs {package}; install it with `pip install {package}`, or name a .csv file."
    )
