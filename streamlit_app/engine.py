"""Read one picture with the model that ships with the code, or through the HTTP API.

Only this module knows which of them answers.
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
    """One picture's outcome: a result with a small copy of the picture, or an error.

    Attributes
    ----------
    truth
        The person's correction; empty without one.
    """

    name: str
    result: Result | None = None
    picture: str = ""
    error: ErrorInfo | None = None
    truth: str = ""


@st.cache_resource(show_spinner="Loading the model …")
def classifier() -> Classifier:
    """Return the classifier that all sessions share; it is thread-safe.

    Raises
    ------
    ModelUnavailable
        If the bundle that ships with the code is broken.
    """
    return Classifier(bundle.load())


def chosen() -> Api | None:
    """Return the API, if it is configured and chosen; None for the model in the app."""
    return api.configured() if st.session_state.get("engine") == "api" else None


def choose(engine: Choice) -> None:
    """Choose the engine of this session."""
    st.session_state.engine = engine


def read(
    name: str, data: bytes, explain: Explain | None = "frame", *, side: int = preview.SIDE
) -> Reading:
    """Read all digits of one picture; an error of the picture is part of the reading.

    Parameters
    ----------
    name
        The picture's name.
    data
        The image file's bytes.
    explain
        See `Classifier.classify`.
    side
        Pixels of the longer side of the small picture that the reading keeps.

    Raises
    ------
    ModelUnavailable, Away
        If no picture can be read.
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
