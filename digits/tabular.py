"""Write tables as CSV, TSV, XLSX and Parquet files.

Cells are untrusted (file names, keys, messages). In CSV and TSV, a cell that a spreadsheet would
evaluate as a formula is prefixed with an apostrophe; in XLSX and Parquet each cell has a type. The
libraries for these two formats are imported when such a file is written.
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

_BATCH = 1_000  # rows of a Parquet row group, which is held in memory
_XLSX_ROWS = 2**20  # rows of a sheet, including the header
# The start of a formula in spreadsheets, including the full-width characters of East Asian input
# (OWASP, "CSV Injection"). Cells with apostrophes before it are escaped too, so that `restored` can
# undo the escape without ambiguity.
_FORMULA = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?|-?")
_EXACT_DIGITS = 15  # significant decimal digits that a spreadsheet's number stores


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name
        Its header.
    kind
        Type of its cells: ``"text"``; ``"reading"``, the text of a result, which usually is a
        number; ``"number"``, float; ``"flag"``, bool. None is an empty cell.
    decimals
        Decimal places of a float in CSV and TSV.
    flags
        Text of False and True in CSV and TSV.
    """

    name: str
    kind: Literal["text", "reading", "number", "flag"] = "text"
    decimals: int = 6
    flags: tuple[str, str] = ("false", "true")

    def as_text(self, cell: Cell) -> str:
        """Return the text of a cell in CSV and TSV."""
        if cell is None:
            return ""
        if isinstance(cell, bool):
            return self.flags[cell]
        return f"{cell:.{self.decimals}f}" if isinstance(cell, float) else escaped(cell)


def escaped(cell: str) -> str:
    """Return a cell that spreadsheets do not evaluate as a formula; numbers are unchanged."""
    return f"'{cell}" if _is_formula(cell) else cell


def restored(cell: str) -> str:
    """Undo `escaped`."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(cell: str) -> bool:
    return bool(_FORMULA.match(cell)) and not _NUMBER.fullmatch(cell)


@contextmanager
def writer(
    ending: str, stream: IO[bytes], columns: Sequence[Column], *, bom: bool = False
) -> Iterator[Write]:
    """Return a context manager whose value writes rows to a file of the format `ending`.

    Parameters
    ----------
    ending
        One of `ENDINGS`, the file's extension without the dot.
    stream
        The file, which stays open. It is complete at the end of the block.
    columns
        The columns, in the order of each row's cells.
    bom
        Whether CSV and TSV start with a byte-order mark, by which Excel detects UTF-8.

    Raises
    ------
    BadRequest
        If the library for the format is not installed, or the XLSX sheet is full.
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
    """Write the header to a text stream, and return a function that writes rows below it."""
    table = csv.writer(_UnixLines(stream), delimiter=delimiter)
    table.writerow(column.name for column in columns)

    def as_text(row: Row) -> Iterator[str]:
        return (column.as_text(cell) for column, cell in zip(columns, row, strict=True))

    return lambda rows: table.writerows(map(as_text, rows))


class _UnixLines:
    r"""A stream for `csv.writer` that replaces the \r\n at the end of each line by \n.

    With ``lineterminator="\n"`` the writer would not quote cells that contain a lone \r.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        r"""Write one line that ends in \r\n."""
        return self._stream.write(line.removesuffix("\r\n") + "\n")


@contextmanager
def _xlsx(stream: IO[bytes], columns: Sequence[Column]) -> Iterator[Write]:
    try:
        import xlsxwriter  # noqa: PLC0415 - for XLSX only
        from xlsxwriter.exceptions import FileCreateError  # noqa: PLC0415
    except ImportError as error:
        raise _missing("XLSX", "xlsxwriter") from error
    # Rows are written to a temporary file. The compressed workbook is built in memory, some 50
    # bytes a row: if it were written to the stream directly, a full disk would leave an unclosed
    # archive, which raises again when it is collected.
    packed = io.BytesIO()
    book = xlsxwriter.Workbook(packed, {"constant_memory": True})
    sheet = book.add_worksheet("digits")
    bold, text = book.add_format({"bold": True}), book.add_format({"num_format": "@"})
    sheet.freeze_panes(1, 0)
    # Some readings are text on purpose; Excel would mark each of them with a warning.
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
                    f"An XLSX sheet has at most {_XLSX_ROWS - 1:,} rows; write a .csv file."
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
            book.close()  # also removes the temporary file
        except FileCreateError as error:  # xlsxwriter's wrapper of any OSError
            raise (error.args[0] if isinstance(error.args[0], OSError) else OSError()) from error
    stream.write(packed.getbuffer())


def _is_kept_by_a_number(text: str) -> bool:
    """Whether a spreadsheet's number preserves the text: no leading zero, at most 15 digits."""
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
    """Import the modules `pyarrow` and `pyarrow.parquet`.

    Raises
    ------
    BadRequest
        If pyarrow is not installed.
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
