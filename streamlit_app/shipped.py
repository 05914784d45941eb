"""Report and pictures of the model bundle that ships with the code."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from digits.errors import ModelUnavailable
from digits.registry import bundle
from streamlit_app import preview


@st.cache_data
def report() -> dict[str, Any]:
    """Return the bundle's report; empty if it has none."""
    try:
        found: dict[str, Any] = json.loads(bundle.in_folder(bundle.SHIPPED)("report.json"))
    except ModelUnavailable:
        return {}
    return found


@st.cache_data
def data_uri(name: str) -> str:
    """Return a picture of the bundle as a ``data:`` URI; empty if it is missing."""
    try:
        data = bundle.in_folder(bundle.SHIPPED)(f"images/{name}.png")
    except ModelUnavailable:
        return ""
    return preview.uri(data, "png")
