"""The switch between the two engines, and the note on where pictures go."""

from __future__ import annotations

from html import escape

import streamlit as st

from digits.errors import ModelUnavailable
from streamlit_app import api, engine
from streamlit_app.api import Away

ENGINES = {"app": ":material/home: This app", "api": ":material/cloud: The API"}


def show() -> None:
    """Offer the switch, if an API is configured, and state what happens to pictures."""
    if api.configured():
        st.segmented_control(
            "Who reads it?",
            list(ENGINES),
            format_func=ENGINES.__getitem__,
            required=True,
            key="engine",
            help="Read with the model inside this app, or with the HTTP API.",
        )
    service = engine.chosen()
    words = (
        f"Pictures are sent to {escape(service.host)} to be read. This app stores none."
        if service
        else "Your pictures are neither stored nor passed on."
    )
    st.html(f'<p class="private"><span aria-hidden="true">🔒</span> {words}</p>')


def nobody_reads(error: ModelUnavailable | Away) -> None:
    """Show why no picture can be read; if the app itself can read, offer that."""
    if isinstance(error, ModelUnavailable):
        st.error(f"The model cannot be loaded. {error}", icon=":material/error:")
        return
    st.error(f"The API gives no usable answer. {error}", icon=":material/cloud_off:")
    st.button(
        "Read in this app instead",
        icon=":material/home:",
        type="primary",
        on_click=engine.choose,
        args=("app",),
    )
