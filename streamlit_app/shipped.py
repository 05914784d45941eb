"""What the bundle that ships with the code tells of itself: its report and its pictures."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from digits.errors import ModelUnavailable
from digits.registry import bundle
from streamlit_app import preview


@st.cache_data
def report() -> dict[str, Any]:
    """The bundle's report; empty where it has none."""
    try:
        found: dict[str, Any] = json.loads(bundle.in_folder(bundle.SHIPPED)("report.json"))
    except ModelUnavailable:
        return {}
    return found


@st.cache_data
def data_uri(name: str) -> str:
    """A picture of the bundle as a ``data:`` URI; nothing where it has none."""
    try:
        data = bundle.in_folder(bundle.SHIPPED)(f"images/{name}.png")
    except ModelUnavailable:
        return ""
    return preview.uri(data, "png")
