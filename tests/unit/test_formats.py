"""Formats are detected by content; without a decoder the error says what to do."""

from __future__ import annotations

import struct
import sys

import pytest
from PIL import Image, features

from digits import formats, image
from digits.errors import UnsupportedFormat
from tests.pictures import GREY, encode, error_of


def with_brands(data: bytes, major: bytes, *compatible: bytes) -> bytes:
    """An ISO file with other brands, as many as it had or fewer."""
    size = int.from_bytes(data[:4], "big")
    room = (size - 16) // 4
    filled = [*compatible, *[b"free"] * (room - len(compatible))][:room]
    return data[:8] + major + data[12:16] + b"".join(filled) + data[size:]


AVIF = encode(GREY.convert("RGB"), "AVIF")
HEIC = encode(GREY.convert("RGB"), "HEIC")


@pytest.mark.parametrize("major", [b"avif", b"mif1", b"miaf", b"MA1B"])
def test_avif_is_detected_by_any_brand(major):
    picture = image.decode(with_brands(AVIF, major, b"mif1", b"avif"))
    assert picture.format == "AVIF"
    assert error_of(picture.grey) < 2


@pytest.mark.parametrize("major", [b"heic", b"mif1", b"msf1"])
def test_heic_is_detected_by_any_brand(major):
    assert formats.format_of(with_brands(HEIC, major, b"heix")) == "HEIC"


def test_a_container_without_a_coding_brand_is_detected_by_its_content():
    assert formats.format_of(with_brands(AVIF, b"mif1")) == "AVIF"
    assert formats.format_of(with_brands(HEIC, b"mif1")) == "HEIC"


def test_a_video_is_not_supported():
    data = struct.pack(">I", 24) + b"ftypisom" + bytes(4) + b"isommp42" + b"av01 hvc1"
    assert formats.format_of(data) is None


def test_text_after_the_list_of_brands_is_not_a_brand():
    data = struct.pack(">I", 20) + b"ftypmp42" + bytes(4) + b"isom" + b"\0\0\0\x08avif"
    assert formats.format_of(data) is None


def test_a_video_after_a_photo_is_ignored():
    picture = image.decode(encode(GREY, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(5_000))
    assert picture.format == "JPEG"


@pytest.mark.parametrize(
    ("name", "label"), [("AVIF", "AVIF"), ("JPEG2000", "JPEG 2000"), ("HEIC", "HEIC")]
)
def test_a_format_without_its_decoder_raises_and_is_not_recommended(
    name,
    label,
    monkeypatch,
    decoders,
):
    data = encode(GREY.convert("RGB"), name)
    assert label in formats.readable()
    monkeypatch.setattr(features, "check", lambda it: it not in ("avif", "jpg_2000"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats._opener.cache_clear()
    with pytest.raises(UnsupportedFormat, match=rf"^{label}.* decoded here; send a PNG or a JPEG"):
        image.decode(data)
    with pytest.raises(UnsupportedFormat) as caught:
        image.decode(b"a text")
    assert str(caught.value).endswith("PNG, JPEG, WebP, GIF, BMP, TIFF or PNM.")


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"%PDF-1.7\n", "PDF"), (b"\xff\x0a\0", "JPEG XL"), (b"P7\nWIDTH 9", "PAM"),
     (b'<?xml version="1.0"?>\n<svg>', "SVG"), (b"8BPS\0\1", "Photoshop")],
)  # fmt: skip
def test_the_error_for_an_unsupported_format_names_it(data, name):
    with pytest.raises(UnsupportedFormat, match=f"^{name} is not supported; convert it to PNG"):
        image.decode(data)


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".mpo", ".hif", ".avif", ".jp2", ".pgm"])
def test_the_list_of_extensions_has_those_of_all_formats(ending):
    assert ending in formats.SUFFIXES


def test_every_extension_of_pillow_for_these_formats_is_in_the_list():
    Image.init()
    read = {"PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000"}
    theirs = {ending for ending, name in Image.EXTENSION.items() if name in read}
    assert theirs <= set(formats.SUFFIXES)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_plain_pnm_is_read(kind):
    levels = {1: "0 1", 2: "0 255", 3: "0 0 0 255 255 255"}[kind]
    rows = "\n".join([" ".join([levels] * 4)] * 8)
    header = f"P{kind}\n# by hand\n8 8\n" + ("" if kind == 1 else "255\n")
    grey = image.decode(f"{header}{rows}\n".encode()).grey
    ink, paper = (255, 0) if kind == 1 else (0, 255)
    assert grey[0].tolist() == [ink, paper] * 4
