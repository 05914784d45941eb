"""A sheet to draw on, with undo and clear; where it cannot be had, the app lives without it.

It is a component of a running app: outside of `streamlit run` it cannot even be imported.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from streamlit.errors import StreamlitAPIException

_canvas: ModuleType | None
try:
    _canvas = import_module("streamlit_drawable_canvas")
except (ImportError, StreamlitAPIException):
    _canvas = None

INK, PAPER = "#1c2130", "#ffffff"
_PEN = 12  # pixels


def is_available() -> bool:
    """Whether there is a sheet to draw on."""
    return _canvas is not None


def sheet(key: str, width: int, height: int) -> bytes | None:
    """Show the sheet; returns the drawing as a PNG, None while nothing is drawn."""
    if _canvas is None:
        return None
    drawing = _canvas.st_canvas(
        stroke_width=_PEN,
        stroke_color=INK,
        background_color=PAPER,
        width=width,
        height=height,
        return_image_data=True,
        key=key,
    )
    # What a browser sends is not always what this component would send.
    if not (isinstance(drawing.json_data, dict) and drawing.json_data.get("objects")):
        return None
    try:
        data: bytes | None = drawing.image_bytes
    except ValueError:
        return None
    return data
