"""The first page: draw, upload, photograph or choose a picture, and see its digits."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import NamedTuple

import streamlit as st

from digits import formats
from digits.errors import ImageError, ModelUnavailable
from digits.labels.corrections import MAX_CHARACTERS
from digits.results import Explain, Result
from streamlit_app import (
    camera,
    canvas,
    cards,
    correction,
    engine,
    inside,
    preview,
    shipped,
    style,
    where,
)
from streamlit_app.api import Away
from streamlit_app.engine import Reading
from streamlit_app.samples import SAMPLES, Sample
from streamlit_app.words import counted

MOST = 12  # cards, at most; the batch page has a table for more pictures
DRAW, UPLOAD, CAMERA = "draw", "upload", "camera"
WAYS = {
    DRAW: ":material/draw: Draw",
    UPLOAD: ":material/upload: Upload",
    CAMERA: ":material/photo_camera: Camera",
}


class Picture(NamedTuple):
    """A picture to read; its identity stays the same while it is shown."""

    identity: str
    name: str
    data: bytes


def show() -> None:
    """Draw the page."""
    st.title("Which digit is it?", anchor=False)
    st.html('<p class="lead">A small neural network reads your handwritten digits.</p>')
    ask, answer = st.columns([5, 8], gap="large")
    with ask:
        pictures = _ask()
    with answer:
        try:
            _answer(pictures)
        except (ModelUnavailable, Away) as error:
            where.nobody_reads(error)


def _ask() -> list[Picture]:
    """Show the inputs; return the pictures to read, a sample if there are none."""
    st.session_state.setdefault("sample", SAMPLES[0])
    st.session_state.setdefault("given", 0)
    with st.container(key="ways"):
        way = st.segmented_control(
            "How do you want to enter it?",
            list(WAYS),
            format_func=WAYS.__getitem__,
            default=DRAW,
            required=True,
            key="way",
            label_visibility="collapsed",
            width="stretch",
        )
    with st.container(key="given"):
        pictures = _given(str(way))
    st.html('<p class="label">Or try one of these</p>')
    with st.container(horizontal=True, key="samples"):
        for sample in SAMPLES:
            st.button(sample.label, key=_key(sample), on_click=_choose, args=(sample,))
    st.html(f"<style>{_sample_pictures()}</style>")
    where.show()
    if pictures:
        return pictures
    chosen: Sample = st.session_state.sample
    return [Picture(chosen.file, f"Sample: {chosen.label.lower()}", chosen.data)]


def _given(way: str) -> list[Picture]:
    """Return the pictures of one input. A new number in the key makes a new, empty widget."""
    key = f"{way}-{st.session_state.given}"
    if way == DRAW:
        with st.container(key="sheet"):
            drawing = canvas.sheet(key)
        if drawing is None:
            return []
        return [Picture(_identity(drawing), "Your drawing", drawing)]
    if way == CAMERA:
        photo = camera.photo(key)
        return [Picture(_identity(photo), "Your photo", photo)] if photo else []
    files = st.file_uploader(
        "Drop or choose your pictures",
        type=formats.SUFFIXES,
        accept_multiple_files=True,
        key=key,
        # The API reports the formats that it does not read.
        help=f"{'Pictures' if engine.chosen() else formats.readable()}, up to 20 MB each; JPEG up"
        " to 50 megapixels, the others up to 16.",
    )
    if len(files) > MOST:
        st.info(
            f"Here are the first {MOST} of your {len(files)} pictures; “Many at once” reads them"
            " all.",
            icon=":material/grid_view:",
        )
    return [Picture(file.file_id, file.name, file.getvalue()) for file in files[:MOST]]


def _identity(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _answer(pictures: list[Picture]) -> None:
    """Show the cards, each as soon as its picture is read."""
    for place, picture in enumerate(pictures):
        reading = _read(picture, "frame")
        st.html(cards.card(reading))
        if reading.result is not None:
            _go_on(place, picture, reading.result)
    _forget_all_but(pictures)


def _go_on(place: int, picture: Picture, result: Result) -> None:
    """Offer what can be done with an answer: look inside the classifier, or correct it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        look = bool(result.digits) and st.toggle("See inside", key=f"inside-{place}")
        with st.popover("Not right?", icon=":material/edit:", type="tertiary"):
            _correct(picture, result)
    if look:
        reading = _read(picture, "full")
        st.html(inside.shown(reading, _layers(reading)))


def _correct(picture: Picture, result: Result) -> None:
    """Let the person write a correction, to download or, with consent, to send."""
    written = st.text_input(
        "What does it say?",
        max_chars=MAX_CHARACTERS,
        placeholder="For example 7, or 12/05/1998",
        help="Digits and signs; ? for a mark that is neither."
        + (" A blank between lines." if "\n" in (result.text or "") else ""),
        key=f"truth-{picture.identity}",
    )
    no_digit = st.checkbox(
        "This is not a digit" if len(result.digits) < 2 else "None of these is a digit",
        key=f"no-digit-{picture.identity}",
    )
    truth = correction.no_digit(result) if no_digit else correction.truth(written, result.text)
    if not truth:
        st.caption("Write the right digits: the next training can use them.")
        return
    if examples := correction.examples(result, truth, picture.data):
        st.download_button(
            "Download for training",
            partial(correction.archive, examples),
            file_name="correction.zip",
            mime="application/zip",
            icon=":material/download:",
            on_click="ignore",
            help="Unpacked, it is a folder for the training’s --extra-data.",
        )
    elif (marks := len(correction.marks(truth))) != len(result.digits):
        st.caption(
            f"The recogniser found {counted(len(result.digits), 'mark')}, not {marks}. Training"
            " learns from single digits: crop the picture to one digit."
        )
    else:
        st.caption("Training learns from digits, not from signs and other marks.")
    if service := engine.chosen():
        agreed = st.checkbox(
            f"I agree that {service.host} stores this picture, in grey, and “{truth}”"
            " for training.",
            key=f"agreed-{picture.identity}",
        )
        if st.button("Send it", icon=":material/send:", disabled=not agreed, type="primary"):
            try:
                receipt = service.correct(
                    correction.grey(picture.data), truth, result.text or "", result.model.version
                )
            except (ImageError, Away) as error:
                st.error(f"It was not sent. {error}", icon=":material/cloud_off:")
            else:
                st.success(f"Thank you. It was stored as {receipt}.", icon=":material/check:")


def _layers(reading: Reading) -> list[dict[str, object]]:
    """Return the layers of the reading's classifier, if it is the one of the shipped report."""
    result = reading.result
    try:
        shipped_version = engine.classifier().manifest.version
    except ModelUnavailable:
        return []
    if result is None or result.model.version != shipped_version:
        return []
    return list(shipped.report().get("layers", []))


def _read(picture: Picture, explain: Explain) -> Reading:
    """Read each picture once: the session caches readings while they are shown."""
    readings: dict[tuple[str, Explain, bool], Reading]
    readings = st.session_state.setdefault("readings", {})
    key = (picture.identity, explain, engine.chosen() is None)
    if key not in readings:
        readings[key] = engine.read(picture.name, picture.data, explain)
    return readings[key]


def _forget_all_but(pictures: list[Picture]) -> None:
    shown = {picture.identity for picture in pictures}
    readings = st.session_state.get("readings", {})
    st.session_state.readings = {key: readings[key] for key in readings if key[0] in shown}


def _choose(sample: Sample) -> None:
    """Show a sample in place of other pictures."""
    st.session_state.sample = sample
    st.session_state.given += 1


def _key(sample: Sample) -> str:
    return f"sample-{sample.file.partition('.')[0]}"


@st.cache_data
def _sample_pictures() -> str:
    """Return the CSS rules that show each sample's picture on its button."""
    return style.picture_buttons(
        {_key(sample): preview.uri(sample.data, "jpeg") for sample in SAMPLES}
    )


show()
