"""The first page: give pictures, see the digits in them, how sure, and what the network saw."""

from __future__ import annotations

import base64

import streamlit as st

from digits.errors import ModelUnavailable
from digits.results import Explain, Mode
from streamlit_app import cards, engine, style
from streamlit_app.engine import Reading
from streamlit_app.samples import SAMPLES, Sample

EXTENSIONS = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif"]
PRIVATE = (
    '<p class="private">Your pictures are read in this app’s memory. They are not stored and not'
    " passed on, and forgotten soon after you close the page.</p>"
)


def show() -> None:
    """Draw the page."""
    st.title("Which digit is it?", anchor=False)
    st.html(
        '<p class="lead">Show a small neural network a handwritten digit: it reads it, and tells'
        " you how sure it is.</p>"
    )
    ask, answer = st.columns([5, 8], gap="large")
    with ask:
        pictures = _ask()
    with answer:
        _answer(pictures)


def _ask() -> list[tuple[str, str, bytes]]:
    """The inputs; returns an identity, a name and the bytes of each picture to read."""
    st.session_state.setdefault("sample", SAMPLES[0])
    st.session_state.setdefault("uploads", 0)
    # Streamlit forgets a widget while another page is open; the sample's own mode is right then.
    st.session_state.setdefault("whole_number", st.session_state.sample.mode == "multiple")
    files = st.file_uploader(
        "Drop or choose your pictures",
        type=EXTENSIONS,
        accept_multiple_files=True,
        key=f"uploads-{st.session_state.uploads}",
        help="PNG, JPEG, WebP, GIF, BMP, TIFF or HEIC, up to 20 MB each; JPEG up to 50 megapixels,"
        " the others up to 16.",
    )
    st.toggle(
        "Read a whole number",
        key="whole_number",
        help="Off: one digit a picture. On: all of them, line by line.",
    )
    st.html('<p class="label">Or try one of these</p>')
    with st.container(horizontal=True, key="samples"):
        for sample in SAMPLES:
            st.button(sample.label, key=_key(sample), on_click=_choose, args=(sample,))
    st.html(f"<style>{_sample_pictures()}</style>")
    st.html(PRIVATE)
    if files:
        return [(file.file_id, file.name, file.getvalue()) for file in files]
    chosen: Sample = st.session_state.sample
    return [(chosen.file, f"Sample: {chosen.label.lower()}", chosen.data)]


def _answer(pictures: list[tuple[str, str, bytes]]) -> None:
    """The cards, each drawn as soon as its picture is read."""
    try:
        engine.classifier()
    except ModelUnavailable as error:
        st.error(f"There is no model to read with. {error}", icon=":material/error:")
        return
    mode: Mode = "multiple" if st.session_state.whole_number else "single"
    for picture in pictures:
        reading = _read(picture, mode, "frame")
        st.html(cards.card(reading))
        read = reading.result is not None and reading.result.digits
        if read and st.toggle("Show why", key=f"why-{picture[0]}-{mode}"):
            st.html(cards.why(_read(picture, mode, "full")))
    _forget_all_but(pictures)


def _read(picture: tuple[str, str, bytes], mode: Mode, explain: Explain) -> Reading:
    """Read each picture once: this session remembers what it read as long as it shows it."""
    identity, name, data = picture
    readings: dict[tuple[str, Mode, Explain], Reading]
    readings = st.session_state.setdefault("readings", {})
    key = (identity, mode, explain)
    if key not in readings:
        readings[key] = engine.read(name, data, mode, explain)
    return readings[key]


def _forget_all_but(pictures: list[tuple[str, str, bytes]]) -> None:
    shown = {identity for identity, _, _ in pictures}
    readings = st.session_state.get("readings", {})
    st.session_state.readings = {key: readings[key] for key in readings if key[0] in shown}


def _choose(sample: Sample) -> None:
    """Show a sample, in the mode that it wants, in place of what was uploaded."""
    st.session_state.sample = sample
    st.session_state.whole_number = sample.mode == "multiple"
    st.session_state.uploads += 1  # a new key empties the uploader


def _key(sample: Sample) -> str:
    return f"sample-{sample.file.partition('.')[0]}"


@st.cache_data
def _sample_pictures() -> str:
    """The rules that put each sample's picture on its button."""
    return style.picture_buttons(
        {
            _key(sample): f"data:image/jpeg;base64,{base64.b64encode(sample.data).decode('ascii')}"
            for sample in SAMPLES
        }
    )


show()
