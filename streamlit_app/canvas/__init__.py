"""A drawing component with a pen, an eraser and undo: `canvas.js` in the browser returns a PNG.

The styles are in the app's style sheet.
"""

from __future__ import annotations

import base64
from pathlib import Path

import streamlit as st

_MARK = "data:image/png;base64,"
_HTML = """
<div class="sheet">
  <canvas aria-label="Sheet to write on, with a mouse, a finger or a pen" role="img"></canvas>
  <span class="hint" aria-hidden="true">Write here</span>
</div>
<div class="sheet-tools">
  <label>Pen <input type="range" min="8" max="60" value="28" aria-label="Width of the pen"></label>
  <button type="button" aria-pressed="false" disabled>Eraser</button>
  <button type="button" disabled>Undo</button>
  <button type="button" disabled>Clear</button>
</div>
"""
_SCRIPT = Path(__file__).with_name("canvas.js").read_text(encoding="utf-8")


def sheet(key: str) -> bytes | None:
    """Show a sheet; return the drawing as a PNG, None while it is empty."""
    # Registered here, with the running server: on import there may be none, or another one.
    component = st.components.v2.component("canvas", html=_HTML, js=_SCRIPT, isolate_styles=False)
    return decoded(component(key=key, on_drawing_change=lambda: None).get("drawing"))


def decoded(drawing: object) -> bytes | None:
    """Decode the PNG that the browser sent as a data URI; None for anything else."""
    if not (isinstance(drawing, str) and drawing.startswith(_MARK)):
        return None
    try:
        return base64.b64decode(drawing.removeprefix(_MARK), validate=True) or None
    except ValueError:
        return None
