"""Group many readings, and render them as a table, XLSX, CSV or JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from typing import Any, Literal

from digits import tabular
from digits.labels.corrections import MAX_CHARACTERS
from streamlit_app import correction, words
from streamlit_app.engine import Reading

Group = Literal["all", "look", "sure", "failed"]
GROUPS: dict[Group, str] = {
    "all": "All",
    "look": "To check",
    "sure": "Sure",
    "failed": "Not readable",
}
_TABLE = (
    tabular.Column("file"),
    tabular.Column("text", "reading"),
    tabular.Column("truth", "reading"),
    tabular.Column("confidence", "number"),
    tabular.Column("needs_review", "flag"),
    tabular.Column("reason"),
    tabular.Column("error"),
)
COLUMNS = tuple(column.name for column in _TABLE)

_FRAMES = {"digits": {"__all__": {"explanation"}}}


def group_of(row: Reading) -> Group:
    """Return the group of a reading."""
    if row.result is None:
        return "failed"
    return "look" if words.advice(row.result) else "sure"


def of_group(rows: Sequence[Reading], group: Group) -> list[tuple[int, Reading]]:
    """Return the rows of a group with their places; of all rows, those for review first."""
    order = ("look", "failed", "sure") if group == "all" else (group,)
    return [
        (place, row) for kind in order for place, row in enumerate(rows) if group_of(row) == kind
    ]


def corrected(row: Reading, written: str) -> Reading:
    """Return the row with a person's correction; writing the original answer removes it."""
    text = row.result.text if row.result else None
    truth = correction.truth(written, text)
    return replace(row, truth="" if truth == text else truth)


def html(rows: Iterable[tuple[int, Reading]]) -> str:
    """Render the rows as a table, with each answer in an input named by the row's place.

    It does not hold the corrections, so that it does not change while a person writes.
    """
    body = "".join(_row(place, row) for place, row in rows)
    return (
        '<table class="readings"><thead><tr><th>Picture</th><th>File</th><th>Read as</th>'
        f"<th>How sure</th></tr></thead><tbody>{body}</tbody></table>"
    )


def answer(row: Reading) -> str:
    """Return the text of a row in one line."""
    return " ".join((row.result.text or "").split()) if row.result else ""


def _row(place: int, row: Reading) -> str:
    name = escape(row.name)
    if row.result is None:
        message = row.error.message if row.error else ""
        return (
            '<tr class="failed"><td><i aria-hidden="true">✕</i></td>'
            f'<td class="name">{name}</td><td>–</td>'
            f'<td class="doubt">{escape(message)}</td></tr>'
        )
    result = row.result
    advice = words.advice(result)
    sure = words.certainty(result) if result.digits else ""
    percent = f" <small>{words.percent(words.confidence(result))}</small>" if result.digits else ""
    said = f'<b class="doubt">{escape(advice.headline)}</b>' if advice else f"{sure}{percent}"
    more = f"<br><small>{sure}</small>{percent}" if advice and sure else ""
    return (
        f'<tr><td><img src="{row.picture}" alt="{name}" loading="lazy"></td>'
        f'<td class="name">{name}</td><td class="read"><input name="{place}"'
        f' maxlength="{MAX_CHARACTERS}" value="{escape(answer(row))}" placeholder="–"'
        ' autocomplete="off"'
        f' aria-label="What {name} says. Write over it to correct it."></td>'
        f"<td>{said}{more}</td></tr>"
    )


def as_xlsx(rows: Iterable[Reading]) -> bytes:
    """Return the rows as an Excel workbook, in the given order."""
    return _file("xlsx", rows)


def as_csv(rows: Iterable[Reading]) -> bytes:
    """Return the rows as CSV with a byte-order mark, which Excel needs, in the given order."""
    return _file("csv", rows)


def _file(ending: str, rows: Iterable[Reading]) -> bytes:
    stream = io.BytesIO()
    with tabular.writer(ending, stream, _TABLE, bom=True) as write:
        write(map(_cells, rows))
    return stream.getvalue()


def _cells(row: Reading) -> tabular.Row:
    error = row.error.message if row.error else None
    result = row.result
    if result is None:
        return (row.name, None, None, None, None, None, error)
    sure = words.confidence(result) if result.digits else None
    return (row.name, result.text, row.truth, sure, result.needs_review, result.reason, error)


def as_json(rows: Iterable[Reading]) -> str:
    """Return the rows as a JSON list of results or errors, in the given order."""
    return json.dumps([_document(row) for row in rows], ensure_ascii=False, indent=1)


def _document(row: Reading) -> dict[str, Any]:
    if row.result:
        truth = {"truth": row.truth} if row.truth else {}
        return {"path": row.name, **truth, **row.result.model_dump(exclude=_FRAMES)}
    return {"path": row.name, "error": row.error.model_dump() if row.error else None}
