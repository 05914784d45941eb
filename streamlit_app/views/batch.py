"""The second page: many pictures or a zip of them, read one by one into a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import streamlit as st

from digits.errors import ModelUnavailable
from digits.formats import SUFFIXES
from digits.results import ErrorInfo
from streamlit_app import archive, engine, table, teach, typeover, where
from streamlit_app.api import Away
from streamlit_app.archive import Item
from streamlit_app.engine import Reading
from streamlit_app.samples import SAMPLES
from streamlit_app.table import GROUPS, Group

THUMBNAIL = 96  # pixels
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
A_PAGE = 50  # rows shown before more are asked for


def show() -> None:
    """Draw the page."""
    st.title("Many at once", anchor=False)
    st.html(
        '<p class="lead">Drop many pictures, or a zip of them. Each gets an answer; those'
        " for you to check come first.</p>"
    )
    st.session_state.setdefault("rows", [])
    st.session_state.setdefault("pile", 0)
    st.session_state.setdefault("piled", None)
    files = st.file_uploader(
        "Drop or choose pictures or zips",
        type=[*SUFFIXES, ".zip"],
        accept_multiple_files=True,
        key=f"pile-{st.session_state.pile}",
        help=f"Up to 20 MB a file, and {archive.MOST:,} pictures at once of together"
        f" {archive.MOST_BYTES // 2**20} MB unpacked.",
    )
    try:
        if files:
            names = tuple(file.file_id for file in files)
            _read(names, ((file.name, file.getvalue()) for file in files))
            # A new uploader makes Streamlit free the files; only the table is kept.
            st.session_state.pile += 1
            st.rerun()
        elif not st.session_state.rows and st.button("Try it with the samples"):
            _read(("samples",), ((sample.file, sample.data) for sample in SAMPLES))
            st.rerun()
    except (ModelUnavailable, Away) as error:
        where.nobody_reads(error)
    if st.session_state.rows:
        _results(st.session_state.rows)
    where.show()


def _read(pile: tuple[str, ...], files: Iterator[tuple[str, bytes]]) -> None:
    """Read files into the session's rows; after an interruption, continue where it stopped."""
    if st.session_state.piled != pile:
        st.session_state.update(piled=pile, rows=[], shown=A_PAGE, group="all")
    rows: list[Reading] = st.session_state.rows
    done = len(rows)
    progress = st.progress(0.0, "Reading …")
    for count, item in enumerate(archive.pictures(files), start=1):
        if count > done:
            rows.append(_reading(item))
            # The number of pictures in a zip is unknown: the bar only approaches its end.
            progress.progress(count / (count + 20), f"{count:,} read")


def _reading(item: Item) -> Reading:
    if item.data is None:
        return Reading(item.name, error=ErrorInfo.of(item.problem) if item.problem else None)
    return engine.read(item.name, item.data, "frame", side=THUMBNAIL)


def _results(rows: list[Reading]) -> None:
    """Show the figures, the filter, the table and the downloads."""
    st.session_state.setdefault("group", "all")  # forgotten while another page is open
    counts = Counter(map(table.group_of, rows))
    counts["all"] = len(rows)
    with st.container(key="figures"):
        st.html(_figures(counts))
    with st.container(horizontal=True, vertical_alignment="bottom", key="tools"):
        group = st.segmented_control(
            "Show",
            list(GROUPS),
            format_func=lambda name: f"{GROUPS[name]} ({counts[name]:,})",
            required=True,
            key="group",
            wrap=True,
        )
        for kind, written, mime in (
            ("XLSX", table.as_xlsx, _XLSX),
            ("CSV", table.as_csv, "text/csv"),
            ("JSON", table.as_json, "application/json"),
        ):
            st.download_button(
                kind,
                partial(written, rows),
                file_name=f"digits.{kind.lower()}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
            )
        st.button("Clear", icon=":material/delete:", type="tertiary", on_click=_clear)
    chosen = table.of_group(rows, group or "all")
    if not chosen:
        st.caption("None.")
        return
    st.html('<p class="hint">Read wrongly? Write the right digits over it.</p>')
    typeover.shown(
        table.html(chosen[: st.session_state.shown]),
        {place: row.truth for place, row in chosen if row.truth},
        key="table",
        on_written=_correct,
    )
    if (left := len(chosen) - st.session_state.shown) > 0:
        st.button(f"Show more ({left:,} left)", icon=":material/expand_more:", on_click=_show_more)
    teach.offer(rows)


def _correct(place: int, written: str) -> None:
    """Store a person's correction of a row."""
    rows: list[Reading] = st.session_state.rows
    if 0 <= place < len(rows):
        rows[place] = table.corrected(rows[place], written)


def _figures(counts: Counter[Group]) -> str:
    words: dict[Group, str] = {
        "all": "pictures",
        "sure": "sure",
        "look": "to check",
        "failed": "not readable",
    }
    tiles = "".join(
        f"<div><b>{counts[group]:,}</b><span>{what}</span></div>" for group, what in words.items()
    )
    return f'<div class="figures">{tiles}</div>'


def _show_more() -> None:
    st.session_state.shown += A_PAGE


def _clear() -> None:
    st.session_state.update(rows=[], piled=None, sent=set())


show()
