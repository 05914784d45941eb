"""Where pictures go to be read: the switch between the two engines, and what a person is told."""

from __future__ import annotations

from html import escape

import streamlit as st

from digits.errors import ModelUnavailable
from streamlit_app import api, engine
from streamlit_app.api import Away

ENGINES = {"app": ":material/home: This app", "api": ":material/cloud: The API"}


def show() -> None:
    """Offer the switch, where there is an API to switch to, and say what happens to pictures."""
    if api.configured():
        st.segmented_control(
            "Who reads it?",
            list(ENGINES),
            format_func=ENGINES.__getitem__,
            required=True,
            key="engine",
            help="The same network: inside this app, or behind the HTTP API.",
        )
    service = engine.chosen()
    words = (
        f"Pictures are sent to {escape(service.host)} to be read. This app stores none."
        if service
        else "Your pictures are neither stored nor passed on."
    )
    st.html(f'<p class="private"><span aria-hidden="true">🔒</span> {words}</p>')


def nobody_reads(error: ModelUnavailable | Away) -> None:
    """Say why nothing can be read; where the app itself could, offer that."""
    if isinstance(error, ModelUnavailable):
        st.error(f"There is no model to read with. {error}", icon=":material/error:")
        return
    st.error(f"The API does not answer as it should. {error}", icon=":material/cloud_off:")
    st.button(
        "Read in this app instead",
        icon=":material/home:",
        type="primary",
        on_click=engine.choose,
        args=("app",),
    )
