"""The app's pages without a browser, for readable, unreadable and doubtful pictures."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from digits.errors import ModelUnavailable
from digits.image import MAX_BYTES
from digits.labels import corrections
from digits.registry import bundle
from digits.results import ImageInfo
from streamlit_app import camera, canvas, correction, engine, preview, words
from streamlit_app.samples import SAMPLES
from training_job import extra_data

ROOT = Path(__file__).parents[2]
PEN, CHALK, PENCIL, NUMBER, HARD = SAMPLES
GLOW = r'class="glow"[^>]*left:([-\d.]+)%;top:([-\d.]+)%;width:([-\d.]+)%;height:([-\d.]+)%'


@pytest.fixture
def app() -> AppTest:
    return started()


def started() -> AppTest:
    return AppTest.from_file(ROOT / "streamlit_app/app.py", default_timeout=60).run()


def cards(app: AppTest) -> list[str]:
    """Return the HTML of each card, and check that there was no exception."""
    assert not app.exception
    bodies = [element.proto.body for element in app.get("html")]
    return [body for body in bodies if body.startswith("<article")]


def answer(card: str) -> str:
    return card.partition("</p>")[0].rpartition(">")[2]


def click(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.segmented_control(key="way").set_value("upload").run()
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files])
    return app.run()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_start_page_shows_a_classified_sample(app):
    (card,) = cards(app)

    assert answer(card) == "7"
    assert "Practically certain" in card
    assert "data:image/jpeg;base64," in card  # the picture
    assert "data:image/png;base64," in card  # the frame of the classifier
    assert card.count('class="bar') == 1 + 10


@pytest.mark.parametrize(
    ("sample", "text"), [(PEN, "7"), (CHALK, "5"), (PENCIL, "3"), (NUMBER, "1998")]
)
def test_clicking_a_sample_shows_its_correct_answer(app, sample, text):
    (card,) = cards(click(app, sample.label))

    assert answer(card) == text
    assert 'class="note"' not in card


def test_a_doubtful_digit_shows_its_second_most_likely_class(app):
    (card,) = cards(click(app, HARD.label))

    assert "It could also be a" in card


def test_every_digit_of_a_number_gets_a_box_and_a_tile(app):
    (card,) = cards(upload(app, ("year.jpg", NUMBER.data)))

    assert answer(card) == "1998"
    assert card.count('class="tile"') == card.count('class="box"') == 4


def test_of_a_hundred_uploaded_files_twelve_are_shown(app):
    upload(app, *((f"{number}.jpg", CHALK.data) for number in range(100)))

    assert len(cards(app)) == 12
    assert "12 of your 100" in app.info[0].value


def test_an_unreadable_file_does_not_affect_the_others(app):
    pictures = cards(
        upload(
            app,
            ("chalk.jpg", CHALK.data),
            ("notes.png", b"not a picture"),
            ("cut.jpg", PEN.data[:2000]),
            ("pencil.jpg", PENCIL.data),
        )
    )

    assert [answer(pictures[0]), answer(pictures[3])] == ["5", "3"]
    for card in pictures[1:3]:
        assert "This file could not be read" in card
        assert "Traceback" not in card
    assert "convert it to PNG" in pictures[1]
    assert "cut short; save it again" in pictures[2]


def test_a_blank_page_shows_advice_instead_of_an_error(app):
    (card,) = cards(upload(app, ("blank.png", png(np.full((200, 200), 255, np.uint8)))))

    assert "No digit found" in card
    assert "larger and darker" in card


def test_html_in_a_file_name_is_escaped_on_the_cards(app):
    name = "<img src=x onerror=alert(1)>\"'.png"

    good, bad = cards(upload(app, (name, PEN.data), (name, b"")))

    assert "<img src=x" not in good + bad
    assert "&lt;img src=x" in good
    assert "&lt;img src=x" in bad


def test_clicking_a_sample_replaces_the_uploads(app):
    upload(app, ("a.jpg", CHALK.data), ("b.jpg", CHALK.data))

    (card,) = cards(click(app, PENCIL.label))

    assert answer(card) == "3"


def test_a_picture_is_classified_once_while_it_is_shown(app, monkeypatch):
    read = []
    original = engine.read
    monkeypatch.setattr(engine, "read", lambda *args: read.append(args[0]) or original(*args))

    upload(app, ("a.jpg", CHALK.data))
    app.run()
    assert read == ["a.jpg"]

    click(app, PEN.label)
    assert "a.jpg" not in str(app.session_state.readings)  # dropped with its picture


def explanations(app: AppTest) -> list[str]:
    """Return the HTML of each explanation."""
    assert not app.exception
    bodies = [element.proto.body for element in app.get("html")]
    return [body for body in bodies if body.startswith('<section class="inside"')]


def open_explanation(app: AppTest, place: int = 0) -> AppTest:
    return app.toggle[place].set_value(True).run()


def test_the_explanation_is_computed_once_on_request(app, monkeypatch):
    asked = []
    original = engine.read
    monkeypatch.setattr(engine, "read", lambda *args: asked.append(args[2]) or original(*args))
    assert explanations(app) == []

    open_explanation(app).run()

    (inside,) = explanations(app)
    steps = ["Found", "Made plain", r"Layer 1 · \d+ filters", r"Layer 2 · \d+ filters", "Deeper"]
    assert re.search(".*".join(f"<b>{step}</b>" for step in steps), inside, re.DOTALL)
    assert inside.count('class="glow"') == 1
    assert asked == ["full"]


def test_the_explanation_shows_every_digit_of_the_selected_picture_only(app):
    upload(app, ("a.jpg", CHALK.data), ("year.jpg", NUMBER.data))

    (inside,) = explanations(open_explanation(app, 1))

    assert [inside.count(f"How the {digit} goes") for digit in (1, 9, 8, 5)] == [1, 2, 1, 0]


def test_the_highlight_is_at_the_position_of_the_digit(app):
    pixels = np.full((300, 600), 255, np.uint8)
    pixels[100:200, 480:500] = 0  # a 1 near the right edge

    (inside,) = explanations(open_explanation(upload(app, ("one.png", png(pixels)))))

    left, _, width, _ = map(float, re.search(GLOW, inside).groups())
    assert left + width / 2 == pytest.approx(100 * 490 / 600, abs=1)


def test_without_digits_no_explanation_is_offered(app):
    upload(app, ("blank.png", png(np.full((200, 200), 255, np.uint8))), ("bad.png", b"bad"))

    assert not app.toggle


def correct(app: AppTest, truth: str) -> AppTest:
    return app.text_input[0].set_value(truth).run()


def test_an_exported_correction_is_read_by_training(app, tmp_path, classifier):
    for data, truth in ((CHALK.data, "3"), (NUMBER.data, "1993")):
        result = classifier.classify(data, mode="multiple", explain="frame")
        examples = correction.examples(result, truth, data)
        packed = zipfile.ZipFile(io.BytesIO(correction.archive(examples)))
        packed.extractall(tmp_path / truth)

        learnt = extra_data.load(str(tmp_path / truth)).split

        assert "".join(map(str, learnt.y)) == truth
        for digit, frame in zip(result.digits, learnt.x, strict=True):
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(digit.explanation.frame))))
            assert np.abs(shown / 255 - frame[..., 0]).max() < 1 / 255


def test_signs_and_other_marks_are_not_exported_for_training(classifier):
    result = classifier.classify(NUMBER.data, mode="multiple", explain="frame")

    assert [it.truth for it in correction.examples(result, "1-?8")] == ["1", "8"]
    assert [it.truth for it in correction.examples(result, "1\n9\f98")] == ["1", "9", "9", "8"]
    assert correction.examples(result, "199.8") == []


def test_a_result_with_a_sign_is_not_paired_with_corrected_digits(classifier):
    """A later version of the API may return signs in the text, but not among the digits."""
    read = classifier.classify(NUMBER.data, mode="multiple", explain="frame")
    read = read.model_copy(update={"text": "-1998"})
    assert correction.examples(read, "-199") == []


@pytest.mark.parametrize(
    ("written", "text", "truth"),
    [
        (" 19 98 ", "1993", "1998"),
        ("12 3.5", "12\n35", "12\n3.5"),
        ("-5×3=?", None, "-5×3=?"),
        ("seven", "7", ""),
        ("1" * 4097, "1", ""),
    ],
)
def test_a_correction_typed_on_one_line_is_split_like_the_result(written, text, truth):
    assert correction.truth(written, text) == truth


@pytest.mark.parametrize(
    ("text", "truth"), [("7", "?"), ("12\n35", "??\n??"), ("?", "?"), (None, "?"), ("-5", "??")]
)
def test_a_no_digit_correction_has_a_question_mark_per_character(classifier, text, truth):
    result = classifier.classify(CHALK.data).model_copy(update={"text": text})
    assert correction.no_digit(result) == truth
    assert corrections.valid(truth) == truth


def test_the_no_digit_checkbox_says_that_marks_are_not_trained_on(app):
    (box,) = [it for it in app.checkbox if it.label == "This is not a digit"]
    box.check().run()
    assert not app.exception
    assert "not from signs and other marks" in app.caption[0].value


def test_a_training_download_is_offered_only_for_matching_digits(app):
    assert not correct(app, "seven").get("download_button")
    assert not app.exception

    assert not correct(app, "?").get("download_button")
    assert "not from signs" in app.caption[0].value

    (download,) = correct(app, " 1 ").get("download_button")
    assert download.proto.label == "Download for training"

    assert not correct(app, "12").get("download_button")  # one mark cannot be two digits
    assert "found 1 mark, not 2" in app.caption[0].value


def test_a_missing_model_is_shown_as_an_error(monkeypatch):
    def no_bundle():
        raise ModelUnavailable("Cannot read manifest.json of the model bundle.")

    monkeypatch.setattr(bundle, "load", no_bundle)
    engine.classifier.clear()
    app = started()

    for page in ("views/recognise.py", "views/model.py"):
        app.switch_page(page).run()
        assert not app.exception
        assert "Cannot read manifest.json" in app.error[0].value


def test_the_model_page_shows_the_figures_and_images_of_the_bundle(app):
    app.switch_page("views/model.py").run()

    assert not app.exception
    page = "".join(element.proto.body for element in app.get("html"))
    manifest = bundle.load().manifest
    assert f"{manifest.metrics.test_accuracy:.2%}" in page
    assert f"{manifest.training.parameters:,}" in page
    images = [name for name in manifest.files if name.startswith("images/")]
    assert page.count("data:image/png;base64,") == len(images) > 5
    assert manifest.version in app.caption[0].value


def test_the_upload_limit_of_streamlit_is_that_of_the_library():
    settings = (ROOT / ".streamlit/config.toml").read_text()

    assert f"maxUploadSize = {MAX_BYTES // 2**20}" in settings


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "over 99.9%"),
        (0.9996, "over 99.9%"),
        (0.9994, "99.9%"),
        (0.5, "50.0%"),
        (0.0, "under 0.1%"),
    ],
)
def test_a_percentage_is_never_shown_as_0_or_100(probability, text):
    assert words.percent(probability) == text


def test_the_camera_component_accepts_only_jpeg_data_urls():
    data = b"\xff\xd8\xff jpeg"
    sent = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    assert camera.decoded(sent) == data
    for nonsense in (None, 7, {}, "", sent.replace("jpeg;", "png;"), sent + "!", sent[:23]):
        assert camera.decoded(nonsense) is None


def test_the_canvas_component_accepts_only_png_data_urls():
    sent = "data:image/png;base64," + base64.b64encode(b"a drawing").decode()

    assert canvas.decoded(sent) == b"a drawing"
    for nonsense in (
        None,
        "",
        7,
        {},
        sent[:-1],
        "data:image/png;base64,",
        sent.replace("png", "x"),
    ):
        assert canvas.decoded(nonsense) is None


def test_a_photo_with_exif_rotation_is_shown_upright_and_in_colour():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (255, 0, 0)
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6  # EXIF orientation: rotate by 90° clockwise
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", exif=exif, quality=95)

    uri = preview.data_uri(buffer.getvalue(), ImageInfo(width=40, height=80, format="JPEG"))

    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert shown.size == (40, 80)
    red, green, _ = shown.getpixel((20, 10))
    assert red > 200
    assert green < 100


def test_a_transparent_picture_is_shown_on_white():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[20:40, 20:40, 3] = 255  # black ink on a transparent background

    uri = preview.data_uri(png(pixels), ImageInfo(width=64, height=64, format="PNG"))

    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert shown.getpixel((30, 30)) < 40
    assert shown.getpixel((5, 5)) > 215
