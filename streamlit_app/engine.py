"""Read one picture with the model that ships with the code; failures come back as words.

The only module that knows where answers come from: another engine would stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from digits import bundle
from digits.classifier import Classifier
from digits.errors import DigitsError
from digits.results import Explain, Mode, Result
from streamlit_app import preview


@dataclass(frozen=True)
class Reading:
    """One picture's outcome: a result with a small picture of what it is about, or an error."""

    name: str
    result: Result | None = None
    picture: str = ""
    error: str = ""


@st.cache_resource(show_spinner="Waking the network up …")
def classifier() -> Classifier:
    """The classifier that every session shares; it has a lock of its own.

    Raises
    ------
    ModelUnavailable
        If the bundle that ships with the code is broken.
    """
    return Classifier(bundle.load())


def read(name: str, data: bytes, mode: Mode, explain: Explain = "frame") -> Reading:
    """Read one picture; nothing that it may hold raises."""
    try:
        result = classifier().classify(data, mode=mode, explain=explain)
        return Reading(name, result, preview.data_uri(data, result.image))
    except DigitsError as error:
        return Reading(name, error=str(error))
