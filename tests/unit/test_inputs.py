"""`Classifier.classify` reads the documented inputs; others raise with a sentence."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digits import inputs
from digits.errors import DigitsError, TooLarge, UnreadableImage, UnsupportedFormat
from digits.inputs import picture_of
from tests.conftest import GOLDEN

SEVEN = GOLDEN / "seven.png"
GREY = np.asarray(Image.open(SEVEN).convert("L"))
PIXELS = {
    "grey": GREY,
    "one channel": GREY[..., np.newaxis],
    "rgb": np.stack([GREY] * 3, axis=-1),
    "rgba": np.stack([GREY, GREY, GREY, np.full_like(GREY, 255)], axis=-1),
    "uint16": GREY.astype(np.uint16) * 257,
    "float32": GREY.astype(np.float32) / 255,
    "float64 rgb": np.stack([GREY / 255] * 3, axis=-1),
    "float16": (GREY / 255).astype(np.float16),
    "bool": GREY > 127,
    "a view": np.asfortranarray(GREY)[::1],
    "read-only": np.frombuffer(GREY.tobytes(), np.uint8).reshape(GREY.shape),
}
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F", "I;16", "La"]


def in_mode(mode):
    grey = Image.open(SEVEN).convert("L")
    if mode == "I;16":
        return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    if mode == "La":
        return grey.convert("LA").convert("La")
    return grey.convert("RGBA" if mode == "RGBa" else "RGB" if mode == "HSV" else "L").convert(mode)


@pytest.mark.parametrize(
    "given",
    [
        SEVEN.read_bytes(), bytearray(SEVEN.read_bytes()), memoryview(SEVEN.read_bytes()),
        str(SEVEN), SEVEN, io.BytesIO(SEVEN.read_bytes()), Image.open(SEVEN),
        *PIXELS.values(), *map(in_mode, MODES),
    ],
    ids=lambda given: type(given).__name__,
)  # fmt: skip
def test_every_supported_input_is_read(classifier, given):
    result = classifier.classify(given)
    assert (result.text, result.image.width, result.image.height) == ("7", *GREY.shape[::-1])


def test_an_open_file_is_read_and_stays_open(classifier):
    with SEVEN.open("rb") as file:
        assert classifier.classify(file).text == "7"
        assert not file.closed


def test_the_channels_of_an_array_are_red_green_and_blue():
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 255
    assert picture_of(red).grey[0, 0] == Image.new("RGB", (1, 1), "red").convert("L").getpixel(
        (0, 0)
    )


def test_a_pillow_image_is_turned_upright_as_its_file_is():
    image = Image.new("L", (40, 20), 255)
    image.paste(0, (0, 0, 10, 10))
    packed = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(packed, "PNG", exif=exif)
    of_file, of_image = picture_of(packed.getvalue()), picture_of(Image.open(packed))
    assert (of_image.width, of_image.height) == (20, 40)
    assert (of_image.grey == of_file.grey).all()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "NoneType"),
        (7, "int"),
        ([[0, 1]], "list"),
        ({"image": 1}, "dict"),
        (io.StringIO("text"), "a file opened as text"),
        ("https://example.org/7.png", "download it"),
        (GREY.astype(np.int64), "dtype int64"),
        (GREY.astype(np.complex64), "dtype complex64"),
        (GREY.astype(object), "dtype object"),
        (GREY.astype(np.float32), "outside 0 to 1"),
        (GREY / 255 - 0.9, "outside 0 to 1"),
        (np.full((28, 28), np.nan), "outside 0 to 1"),
        (np.stack([GREY] * 3), "shape"),
        (GREY[np.newaxis, ..., np.newaxis], "shape"),
        (np.zeros((28, 28, 2), np.uint8), "shape"),
        (np.zeros((0, 28), np.uint8), "shape"),
        (np.zeros(28, np.uint8), "shape"),
    ],
)
def test_an_unsupported_input_raises_with_a_sentence(classifier, given, says):
    with pytest.raises(inputs.WrongInput, match=says) as caught:
        classifier.classify(given)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, DigitsError)
    assert "\n" not in str(caught.value)


def test_a_missing_file_raises_file_not_found(classifier, tmp_path):
    with pytest.raises(FileNotFoundError):
        classifier.classify(tmp_path / "gone.png")


def test_limits_hold_for_pixels_and_open_files(classifier, tmp_path):
    with pytest.raises(TooLarge):
        classifier.classify(np.zeros((4001, 4000), np.uint8))
    with pytest.raises(TooLarge):
        classifier.classify(Image.new("L", (4001, 4000)))
    with pytest.raises(TooLarge):
        classifier.classify(io.BytesIO(bytes(2000)), max_bytes=1000)
    with pytest.raises(UnreadableImage):
        classifier.classify(np.zeros((4, 4), np.uint8))
    with pytest.raises(UnsupportedFormat):
        classifier.classify(io.BytesIO(b"text"))


def test_a_pillow_image_of_a_broken_file_is_unreadable(classifier):
    data = SEVEN.read_bytes()
    with pytest.raises(UnreadableImage):
        classifier.classify(Image.open(io.BytesIO(data[: len(data) // 2])))


def test_the_library_writes_nothing_to_the_terminal():
    script = (
        "import sys, threading; from digits import Classifier, bundle;"
        "made = [threading.Thread(target=lambda: Classifier(bundle.load())) for _ in range(4)];"
        "[one.start() for one in made]; [one.join() for one in made];"
        f"Classifier(bundle.load()).classify({str(SEVEN)!r}, explain='full');"
        "print('still there', file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "still there\n")
