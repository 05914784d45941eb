"""A camera component for paper: `camera.js` in the browser returns a JPEG.

Streamlit's own camera takes pictures only as wide as its widget, from the front camera, and mirrors
them. The styles are in the app's style sheet.
"""

from __future__ import annotations

import base64
from pathlib import Path

import streamlit as st

_MARK = "data:image/jpeg;base64,"
_HTML = """
<div class="camera">
  <video autoplay muted playsinline aria-label="What the camera sees"></video>
  <img alt="Your photo" hidden>
  <p class="hint" role="status"></p>
</div>
<div class="sheet-tools">
  <button type="button" disabled>Take photo</button>
  <button type="button" hidden>Other camera</button>
</div>
"""
_SCRIPT = Path(__file__).with_name("camera.js").read_text(encoding="utf-8")


def photo(key: str) -> bytes | None:
    """Show the camera; return the photo as a JPEG, None until one is taken."""
    # Registered here, with the running server: on import there may be none, or another one.
    component = st.components.v2.component("camera", html=_HTML, js=_SCRIPT, isolate_styles=False)
    return decoded(component(key=key, on_photo_change=lambda: None).get("photo"))


def decoded(photo: object) -> bytes | None:
    """Decode the JPEG that the browser sent as a data URI; None for anything else."""
    if not (isinstance(photo, str) and photo.startswith(_MARK)):
        return None
    try:
        return base64.b64decode(photo.removeprefix(_MARK), validate=True) or None
    except ValueError:
        return None
