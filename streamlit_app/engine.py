"""Read one picture: with the model that ships with the code, or through the HTTP API.

The only module that knows where answers come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from digits import Classifier
from digits.errors import ImageError
from digits.registry import bundle
from digits.results import ErrorInfo, Explain, Result
from streamlit_app import api, preview
from streamlit_app.api import Api

Choice = Literal["app", "api"]


@dataclass(frozen=True)
class Reading:
    """One picture's outcome: a result with a small picture of what it is about, or an error.

    Attributes
    ----------
    truth
        The digits that a person says it shows, where they corrected the answer.
    """

    name: str
    result: Result | None = None
    picture: str = ""
    error: ErrorInfo | None = None
    truth: str = ""


@st.cache_resource(show_spinner="Waking the network up …")
def classifier() -> Classifier:
    """The classifier that every session shares; it has a lock of its own.

    Raises
    ------
    ModelUnavailable
        If the bundle that ships with the code is broken.
    """
    return Classifier(bundle.load())


def chosen() -> Api | None:
    """The API, if there is one and this session chose it; None for the model in the app."""
    return api.configured() if st.session_state.get("engine") == "api" else None


def choose(engine: Choice) -> None:
    """Read with that engine from now on, in this session."""
    st.session_state.engine = engine


def read(
    name: str, data: bytes, explain: Explain | None = "frame", *, side: int = preview.SIDE
) -> Reading:
    """Read all the digits of one picture; nothing that it may hold raises.

    Parameters
    ----------
    name
        What the picture is called.
    data
        The image file's bytes.
    explain
        See `Classifier.classify`.
    side
        Pixels of the longer side of the small picture that the reading keeps.

    Raises
    ------
    ModelUnavailable, Away
        If it is not the picture's fault: no other will fare better.
    """
    try:
        result = _result(data, explain)
        return Reading(name, result, preview.data_uri(data, result.image, side))
    except ImageError as error:
        return Reading(name, error=ErrorInfo.of(error))


def _result(data: bytes, explain: Explain | None) -> Result:
    if service := chosen():
        return service.classify(data, explain=explain)
    return classifier().classify(data, mode="multiple", explain=explain)
