"""Tables are safe and exact in a spreadsheet, in the format of their extension."""

import csv
import io
import re
import zipfile
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from digits import tabular
from digits.cli.labels import collected
from digits.cli.labels.collected import Row
from digits.errors import BadRequest
from digits.tabular import Column, escaped, restored

TABLE = (
    Column("path"),
    Column("text", "reading"),
    Column("confidence", "number", decimals=2),
    Column("needs_review", "flag", flags=("no", "yes")),
)
_CELLS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "=cmd|' /C calc'!A0",
    "＝1+1", "＋1", "－1+1", "＠x", "-1.png", "--", "-5%", "+", "'=1", "''=1",
]  # fmt: skip
PLAIN = ["-5", "+5", "-12,50", "3.14", "-3.14", "007", "1+1", "-", "", "a=1", "'", "'a", "12/05"]


def written(ending, rows, **options):
    stream = io.BytesIO()
    with tabular.writer(ending, stream, TABLE, **options) as write:
        for row in rows:
            write([row])
    return stream.getvalue()


def cells_of(book):
    """The cells of a workbook's first sheet, as text."""
    with zipfile.ZipFile(book) as packed:
        sheet = ElementTree.fromstring(packed.read("xl/worksheets/sheet1.xml"))
    assert not list(sheet.iter(f"{_CELLS}f"))
    rows = []
    for row in sheet.iter(f"{_CELLS}row"):
        cells = dict.fromkeys("ABCDEFGHI"[: len(rows[0]) if rows else len(row)], "")
        for cell in row:
            cells[re.sub(r"\d", "", cell.get("r"))] = "".join(cell.itertext())
        rows.append(list(cells.values()))
    return rows


def types_of(book):
    with zipfile.ZipFile(io.BytesIO(book)) as packed:
        sheet = ElementTree.fromstring(packed.read("xl/worksheets/sheet1.xml"))
    return {cell.get("r"): cell.get("t", "n") for cell in sheet.iter(f"{_CELLS}c")}


@pytest.mark.parametrize("cell", FORMULAS)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_formula_is_shown_and_never_evaluated(ending, cell):
    text = written(ending, [(cell, cell, 0.5, True)]).decode()
    _, row = csv.reader(io.StringIO(text, newline=""), delimiter=tabular.DELIMITERS[ending])
    assert row == [f"'{cell}", f"'{cell}", "0.50", "yes"]
    assert restored(row[0]) == cell


@pytest.mark.parametrize("cell", PLAIN)
def test_numbers_and_plain_text_are_not_escaped(cell):
    assert escaped(cell) == cell
    assert restored(cell) == cell


@given(st.text() | st.text("='+-@0 1.\t\r\n", max_size=6))
def test_an_escaped_cell_can_be_restored(cell):
    assert restored(escaped(cell)) == cell
    assert not re.match(r"[=@＝＋－＠\t\r\n]|[+-](?![0-9]|$)", escaped(cell))


@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_byte_order_mark_is_there_on_request(ending, bom):
    data = written(ending, [("日本.png", "7", None, None)], bom=bom)
    assert data.startswith(b"\xef\xbb\xbf") == bom
    assert data.decode("utf-8-sig").splitlines()[1].startswith("日本.png")


@pytest.mark.parametrize(
    "text",
    ["007", "1234567890123456", "0.10", "3.10", "-0", "12,50", "1e5", "12/05/2024", "00", "٣"],
)
def test_a_reading_that_a_number_would_change_is_text_in_xlsx(text):
    book = written("xlsx", [("a", text, 0.5, True)])
    assert cells_of(io.BytesIO(book))[1][1] == text
    assert types_of(book)["B2"] == "inlineStr"


@pytest.mark.parametrize("text", ["7", "-5", "3.14", "0", "0.5", "123456789012345"])
def test_a_reading_that_is_a_number_is_one_in_xlsx(text):
    book = written("xlsx", [(text, text, 0.5, True)])
    assert types_of(book) | {"A2": "inlineStr", "B2": "n", "C2": "n", "D2": "b"} == types_of(book)
    assert float(cells_of(io.BytesIO(book))[1][1]) == float(text)


@pytest.mark.parametrize("cell", [*FORMULAS, "https://example.org", "{=1}", "_x0041_", "a\x01b"])
def test_nothing_is_a_formula_or_a_link_in_xlsx(cell):
    book = written("xlsx", [(cell, cell, None, None)])
    assert types_of(book)["A2"] == types_of(book)["B2"] == "inlineStr"
    assert set(types_of(book)) == {"A1", "B1", "C1", "D1", "A2", "B2"}


def test_a_full_xlsx_sheet_raises(monkeypatch):
    monkeypatch.setattr(tabular, "_XLSX_ROWS", 3)
    with pytest.raises(BadRequest, match="at most 2 rows"):
        written("xlsx", [("a", "1", None, None)] * 3)


def test_parquet_keeps_the_types():
    rows = [("a", "007", 0.5, True), ("b", None, None, None)]
    table = parquet.read_table(io.BytesIO(written("parquet", rows)))
    assert table.schema.types == ["string", "string", "double", "bool"]
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


@pytest.mark.parametrize(("ending", "package"), [("xlsx", "xlsxwriter"), ("parquet", "pyarrow")])
def test_a_format_without_its_library_raises_with_a_sentence(monkeypatch, ending, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(BadRequest, match=f"pip install {package}"):
        written(ending, [])


def test_a_collected_table_is_read_with_its_cells_restored():
    row = Row("=1.png", "-5", "-1+2", True, "blank", "", 0.5, "20261123T204400Z-1a2b3c4d", "now")
    stream = io.StringIO()
    tabular.delimited(stream, collected._TABLE, ",")([row])
    assert "'=1.png,-5,'-1+2,yes" in stream.getvalue()
    (line,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert Row.of_line(line) == row
