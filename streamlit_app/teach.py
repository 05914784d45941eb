"""Offer a table's corrections for training: as a download or, with consent, to the API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from digits.errors import ImageError
from streamlit_app import correction, engine
from streamlit_app.api import Api, Away
from streamlit_app.correction import Example
from streamlit_app.engine import Reading
from streamlit_app.words import counted


def offer(rows: Sequence[Reading]) -> None:
    """Show the number of corrected rows, the download and the consent; nothing without any."""
    corrected = [row for row in rows if row.truth]
    if not corrected:
        return
    lessons = [
        correction.examples(row.result, row.truth) if row.result else [] for row in corrected
    ]
    examples = [example for lesson in lessons for example in lesson]
    with st.container(border=True, key="corrections"):
        st.html(
            f"<p><b>{counted(len(corrected), 'answer')} corrected.</b> XLSX, CSV and JSON hold what"
            " was read and your corrections.</p>"
        )
        if unclear := lessons.count([]):
            st.caption(
                f"In {counted(unclear, 'picture')} the recogniser found more or fewer marks than"
                " you wrote, or you wrote no digit. Training learns from single digits: crop such a"
                " picture to one digit."
            )
        if examples:
            _download(examples)
            if service := engine.chosen():
                _send(service, [example for example in examples if example.truth != example.answer])


def _download(examples: list[Example]) -> None:
    st.download_button(
        "Download for training",
        partial(correction.archive, examples),
        file_name="corrections.zip",
        mime="application/zip",
        icon=":material/download:",
        on_click="ignore",
        help="Unpacked, it is a folder for the training’s --extra-data. It holds each digit"
        " as the classifier’s input of 28 × 28 pixels: the table keeps no larger picture.",
    )


def _send(service: Api, wrong: list[Example]) -> None:
    """Send each digit that was read wrongly, once, after the person has agreed."""
    sent: set[Example] = st.session_state.setdefault("sent", set())
    left = [example for example in wrong if example not in sent]
    if not left:
        st.success(f"Thank you. {counted(len(wrong), 'digit')} arrived.", icon=":material/check:")
        return
    agreed = st.checkbox(
        f"I agree that {service.host} stores {counted(len(left), 'digit')} of 28 × 28 pixels"
        " with my corrections, for training.",
        key="agreed",
    )
    if not st.button("Send them", icon=":material/send:", disabled=not agreed, type="primary"):
        return
    try:
        for example in left:
            service.correct(example.data, example.truth, example.answer, example.model)
            sent.add(example)
    except (ImageError, Away) as error:
        st.error(f"Not all of them were sent. {error}", icon=":material/cloud_off:")
    else:
        st.rerun()
