"""The app without a browser: what its pages say about good, bad and doubtful pictures."""

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
    """The HTML of each card; and there was no exception."""
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


def test_at_first_sight_there_is_an_answer(app):
    (card,) = cards(app)

    assert answer(card) == "7"
    assert "Practically certain" in card
    assert "data:image/jpeg;base64," in card  # the picture
    assert "data:image/png;base64," in card  # what the network saw
    assert card.count('class="bar') == 1 + 10


@pytest.mark.parametrize(
    ("sample", "text"), [(PEN, "7"), (CHALK, "5"), (PENCIL, "3"), (NUMBER, "1998")]
)
def test_a_sample_is_read_right_with_one_click(app, sample, text):
    (card,) = cards(click(app, sample.label))

    assert answer(card) == text
    assert 'class="note"' not in card


def test_a_doubtful_digit_names_its_runner_up(app):
    (card,) = cards(click(app, HARD.label))

    assert "It could also be a" in card


def test_a_number_is_read_digit_by_digit(app):
    (card,) = cards(upload(app, ("year.jpg", NUMBER.data)))

    assert answer(card) == "1998"
    assert card.count('class="tile"') == card.count('class="box"') == 4


def test_of_a_hundred_files_at_once_the_first_are_shown(app):
    upload(app, *((f"{number}.jpg", CHALK.data) for number in range(100)))

    assert len(cards(app)) == 12
    assert "12 of your 100" in app.info[0].value


def test_one_bad_file_does_not_spoil_the_others(app):
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


def test_a_blank_page_is_no_error(app):
    (card,) = cards(upload(app, ("blank.png", png(np.full((200, 200), 255, np.uint8)))))

    assert "No digit found" in card
    assert "larger and darker" in card


def test_a_hostile_file_name_is_only_text(app):
    name = "<img src=x onerror=alert(1)>\"'.png"

    good, bad = cards(upload(app, (name, PEN.data), (name, b"")))

    assert "<img src=x" not in good + bad
    assert "&lt;img src=x" in good
    assert "&lt;img src=x" in bad


def test_a_sample_takes_the_place_of_what_was_uploaded(app):
    upload(app, ("a.jpg", CHALK.data), ("b.jpg", CHALK.data))

    (card,) = cards(click(app, PENCIL.label))

    assert answer(card) == "3"


def test_a_picture_is_read_once_while_it_is_shown(app, monkeypatch):
    read = []
    original = engine.read
    monkeypatch.setattr(engine, "read", lambda *args: read.append(args[0]) or original(*args))

    upload(app, ("a.jpg", CHALK.data))
    app.run()
    assert read == ["a.jpg"]

    click(app, PEN.label)
    assert "a.jpg" not in str(app.session_state.readings)  # and forgotten with its picture


def insides(app: AppTest) -> list[str]:
    """What was shown of the network's inside."""
    assert not app.exception
    bodies = [element.proto.body for element in app.get("html")]
    return [body for body in bodies if body.startswith('<section class="inside"')]


def look_inside(app: AppTest, place: int = 0) -> AppTest:
    return app.toggle[place].set_value(True).run()


def test_the_inside_is_shown_when_it_is_asked_and_made_once(app, monkeypatch):
    asked = []
    original = engine.read
    monkeypatch.setattr(engine, "read", lambda *args: asked.append(args[2]) or original(*args))
    assert insides(app) == []

    look_inside(app).run()

    (inside,) = insides(app)
    steps = ["Found", "Made plain", "Layer 1 · 16 filters", "Layer 2 · 24 filters", "Deeper"]
    assert [inside.index(f"<b>{step}</b>") for step in steps] == sorted(
        inside.index(f"<b>{step}</b>") for step in steps
    )
    assert inside.count('class="glow"') == 1
    assert asked == ["full"]


def test_each_digit_is_shown_inside_and_only_of_the_picture_that_was_asked_of(app):
    upload(app, ("a.jpg", CHALK.data), ("year.jpg", NUMBER.data))

    (inside,) = insides(look_inside(app, 1))

    assert [inside.count(f"How the {digit} goes") for digit in (1, 9, 8, 5)] == [1, 2, 1, 0]


def test_the_glow_lies_where_the_digit_is(app):
    pixels = np.full((300, 600), 255, np.uint8)
    pixels[100:200, 480:500] = 0  # a one, far to the right

    (inside,) = insides(look_inside(upload(app, ("one.png", png(pixels)))))

    left, _, width, _ = map(float, re.search(GLOW, inside).groups())
    assert left + width / 2 == pytest.approx(100 * 490 / 600, abs=1)


def test_where_nothing_was_read_there_is_no_inside(app):
    upload(app, ("blank.png", png(np.full((200, 200), 255, np.uint8))), ("bad.png", b"bad"))

    assert not app.toggle


def correct(app: AppTest, truth: str) -> AppTest:
    return app.text_input[0].set_value(truth).run()


def test_a_correction_is_what_training_reads(app, tmp_path, classifier):
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


def test_a_sign_or_another_mark_is_no_example_for_training(classifier):
    result = classifier.classify(NUMBER.data, mode="multiple", explain="frame")

    assert [it.truth for it in correction.examples(result, "1-?8")] == ["1", "8"]
    assert [it.truth for it in correction.examples(result, "1\n9\f98")] == ["1", "9", "9", "8"]
    assert correction.examples(result, "199.8") == []


def test_a_sign_that_was_read_leaves_no_digit_of_the_correction_to_pair(classifier):
    """A later version of the API says signs in the text, but not among the digits."""
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
def test_a_correction_is_written_on_one_line(written, text, truth):
    assert correction.truth(written, text) == truth


@pytest.mark.parametrize(
    ("text", "truth"), [("7", "?"), ("12\n35", "??\n??"), ("?", "?"), (None, "?"), ("-5", "??")]
)
def test_a_correction_says_that_nothing_read_is_a_digit(classifier, text, truth):
    result = classifier.classify(CHALK.data).model_copy(update={"text": text})
    assert correction.no_digit(result) == truth
    assert corrections.valid(truth) == truth


def test_this_is_no_digit_is_one_click(app):
    (box,) = [it for it in app.checkbox if it.label == "This is not a digit"]
    box.check().run()
    assert not app.exception
    assert "not from signs and other marks" in app.caption[0].value


def test_a_correction_is_offered_for_what_can_be_learnt_only(app):
    assert not correct(app, "seven").get("download_button")
    assert not app.exception

    assert not correct(app, "?").get("download_button")
    assert "not from signs" in app.caption[0].value

    (download,) = correct(app, " 1 ").get("download_button")
    assert download.proto.label == "Download for training"

    assert not correct(app, "12").get("download_button")  # one mark can't be two digits
    assert "found 1 mark, not 2" in app.caption[0].value


def test_without_a_model_there_are_words(monkeypatch):
    def no_bundle():
        raise ModelUnavailable("Cannot read manifest.json of the model bundle.")

    monkeypatch.setattr(bundle, "load", no_bundle)
    engine.classifier.clear()
    app = started()

    for page in ("views/recognise.py", "views/model.py"):
        app.switch_page(page).run()
        assert not app.exception
        assert "Cannot read manifest.json" in app.error[0].value


def test_the_model_page_tells_what_the_bundle_holds(app):
    app.switch_page("views/model.py").run()

    assert not app.exception
    page = "".join(element.proto.body for element in app.get("html"))
    manifest = bundle.load().manifest
    assert f"{manifest.metrics.test_accuracy:.2%}" in page
    assert f"{manifest.training.parameters:,}" in page
    assert page.count("data:image/png;base64,") == 9
    assert manifest.version in app.caption[0].value


def test_the_upload_limit_is_the_recognisers():
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
def test_a_percentage_never_claims_to_be_all_or_nothing(probability, text):
    assert words.percent(probability) == text


def test_of_what_a_browser_sends_only_a_jpeg_is_a_photo():
    data = b"\xff\xd8\xff jpeg"
    sent = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    assert camera.decoded(sent) == data
    for nonsense in (None, 7, {}, "", sent.replace("jpeg;", "png;"), sent + "!", sent[:23]):
        assert camera.decoded(nonsense) is None


def test_of_what_a_browser_sends_only_a_png_is_a_drawing():
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


def test_a_turned_photo_is_shown_upright_and_in_colour():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (255, 0, 0)
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", exif=exif, quality=95)

    uri = preview.data_uri(buffer.getvalue(), ImageInfo(width=40, height=80, format="JPEG"))

    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert shown.size == (40, 80)
    red, green, _ = shown.getpixel((20, 10))
    assert red > 200
    assert green < 100


def test_a_transparent_picture_is_shown_as_it_was_read():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[20:40, 20:40, 3] = 255  # black ink on nothing

    uri = preview.data_uri(png(pixels), ImageInfo(width=64, height=64, format="PNG"))

    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert shown.getpixel((30, 30)) < 40
    assert shown.getpixel((5, 5)) > 215
