"""A camera for paper: `camera.js` in the browser, a JPEG here.

Streamlit's own takes pictures as wide as it is shown, by the camera that looks at the person, and
mirrors them. Its looks are part of the app's style sheet.
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
    """Show what the camera sees; returns the photo as a JPEG, None while none is taken."""
    # Made known here, to the server that runs now: on import there may be none, or another one.
    component = st.components.v2.component("camera", html=_HTML, js=_SCRIPT, isolate_styles=False)
    return decoded(component(key=key, on_photo_change=lambda: None).get("photo"))


def decoded(photo: object) -> bytes | None:
    """The JPEG that the browser sent as a data URI; None for whatever else it may have sent."""
    if not (isinstance(photo, str) and photo.startswith(_MARK)):
        return None
    try:
        return base64.b64decode(photo.removeprefix(_MARK), validate=True) or None
    except ValueError:
        return None
