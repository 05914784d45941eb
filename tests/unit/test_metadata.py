"""Images are read with any metadata, within the limits of time and memory."""

from __future__ import annotations

import contextlib
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from digits.errors import UnreadableImage
from digits.image import decode
from digits.metadata import MOST_PARTS, without_metadata
from tests.pictures import FORMATS, GREY, PATTERN, encode, error_of, peak_of, with_chunk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def chunk(kind: bytes, content: bytes, *, length: int | None = None, crc: int | None = None):
    """A PNG's chunk, with a wrong length or checksum on request."""
    said = len(content) if length is None else length
    check = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", said) + kind + content + struct.pack(">I", check)


def png_beside(*chunks: bytes) -> bytes:
    """The pattern with chunks before its pixels."""
    png = encode(GREY, "PNG")
    at = png.index(b"IDAT") - 4
    return png[:at] + b"".join(chunks) + png[at:]


def segment(marker: int, content: bytes, *, length: int | None = None) -> bytes:
    said = len(content) + 2 if length is None else length
    return bytes([0xFF, marker]) + struct.pack(">H", said) + content


def jpeg_beside(*segments: bytes) -> bytes:
    jpeg = encode(GREY, "JPEG")
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


TURNED = np.rot90(PATTERN)  # what is stored where Exif says 6
THUMBNAIL = encode(Image.new("L", (16, 16), 90), "JPEG")
MEGABYTES = zlib.compress(bytes(3_000_000))
PNGS = {
    "a wrong CRC": png_beside(chunk(b"pHYs", bytes(9), crc=1)),
    "a wrong CRC of text": png_beside(chunk(b"tEXt", b"Title\0seven", crc=1)),
    "a profile of megabytes": png_beside(chunk(b"iCCP", b"icc\0\0" + MEGABYTES)),
    "a profile that does not unpack": png_beside(chunk(b"iCCP", b"icc\0\0nonsense")),
    "text of megabytes": png_beside(chunk(b"iTXt", b"T\0\1\0\0\0" + MEGABYTES)),
    "much text": png_beside(*[chunk(b"zTXt", b"T\0\0" + MEGABYTES)] * 40),
    "too long a length": png_beside(chunk(b"tEXt", b"Title\0seven", length=40)),
    "too short a length": png_beside(chunk(b"tEXt", b"Title\0seven", length=3)),
    "a length beyond the end": png_beside(chunk(b"gAMA", bytes(4), length=0x7FFFFFFF)),
    "a chunk too short for its kind": png_beside(chunk(b"pHYs", b"\0")),
    "transparency of another kind": png_beside(chunk(b"tRNS", b"\0")),
    "Exif without an entry": png_beside(chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")),
    "a chunk without a name": png_beside(chunk(b"\0\0\0\0", bytes(9))),
    "no end": encode(GREY, "PNG")[:-12],
    "half an end": encode(GREY, "PNG")[:-7],
    "an end without its pixels' checksum": encode(GREY, "PNG")[:-16],
    "a wrong CRC behind the pixels": encode(GREY, "PNG")[:-12] + chunk(b"tIME", bytes(7), crc=1),
}
JPEGS = {
    "no end": encode(GREY, "JPEG")[:-2],
    "half an end": encode(GREY, "JPEG")[:-1],
    "zeros in place of the end": encode(GREY, "JPEG")[:-2] + bytes(512),
    "no end of several scans": encode(GREY, "JPEG", progressive=True)[:-2],
    "a broken profile": jpeg_beside(segment(0xE2, b"ICC_PROFILE\0\1")),
    "half a profile": jpeg_beside(segment(0xE2, b"ICC_PROFILE\0\1\3" + bytes(400))),
    "Exif without an entry": jpeg_beside(segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")),
    "Exif without end": jpeg_beside(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff")),
    "a broken MPO index": jpeg_beside(segment(0xE2, b"MPF\0nonsense")),
    "a broken Photoshop block": jpeg_beside(segment(0xED, b"Photoshop 3.0\0008BIM\xff\xff\xff")),
    "JFIF too short": jpeg_beside(segment(0xE0, b"JFIF\0")),
    "too long a length": jpeg_beside(segment(0xE2, bytes(90), length=900)),
    "too long a length about a thumbnail": jpeg_beside(
        segment(0xE1, b"Exif\0\0" + THUMBNAIL, length=65_000)
    ),
    "too short a length": jpeg_beside(segment(0xE1, b"Exif\0\0" + bytes(90), length=30)),
    "a film behind it": encode(GREY, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(9_000),
    "nonsense between segments": jpeg_beside(segment(0xFE, b"a comment") + b"nonsense"),
}


def riff(*chunks: tuple[bytes, bytes], more: int = 0) -> bytes:
    """A WebP of the pattern with chunks behind its pixels, and `more` bytes that are not there."""
    body = encode(GREY, "WEBP", lossless=True)[12:]
    flags = struct.pack("<I", 0x2C) + struct.pack("<I", 89)[:3] + struct.pack("<I", 59)[:3]
    body = struct.pack("<4sI", b"VP8X", 10) + flags + body
    for kind, content in chunks:
        body += struct.pack("<4sI", kind, len(content)) + content + bytes(len(content) % 2)
    return struct.pack("<4sI", b"RIFF", len(body) + 4 + more) + b"WEBP" + body


def tiff_beside(tag: int, content: bytes) -> bytes:
    """A TIFF of the pattern with one more field, of undefined bytes."""
    fields = TiffImagePlugin.ImageFileDirectory_v2()
    fields[65_000] = content
    fields.tagtype[65_000] = 7
    data = encode(GREY, "TIFF", tiffinfo=fields)
    return data.replace(struct.pack("<HH", 65_000, 7), struct.pack("<HH", tag, 7))


def iso_beside(name: str, exif: bytes) -> bytes:
    """An AVIF or HEIC of the pattern, with that in place of Exif."""
    sound = Image.Exif()
    sound[305] = "x" * len(exif)
    data = encode(GREY.convert("RGB"), name, exif=sound.tobytes())
    at = data.rindex(b"MM\0*")
    return data[:at] + exif + data[at + len(exif) :]


OTHERS = {
    "WebP with broken Exif": riff((b"EXIF", b"nonsense")),
    "WebP cut in its metadata": riff((b"XMP ", bytes(900)))[:-500],
    "WebP that says to be longer": riff(more=999),
    "WebP with a profile that it does not have": riff((b"EXIF", exif_of(1))),
    "GIF without an end": encode(GREY, "GIF")[:-1],
    "GIF with a comment": (gif := encode(GREY, "GIF"))[:781] + b"!\xfe\3abc\0" + gif[781:],
    "TIFF with a broken profile": tiff_beside(34675, b"nonsense"),
    "TIFF with broken Exif": tiff_beside(34665, b"nonsense"),
    "TIFF with broken Photoshop blocks": tiff_beside(34377, b"8BIM\xff\xff\xff"),
    "PNM with comments": b"P5\n# by hand\n90 # wide\n60\n#\n255\n" + PATTERN.tobytes(),
}
HEADERS = {"PNGs": PNGS, "JPEGs": JPEGS, "others": OTHERS}


class TestSoundPixels:
    @pytest.mark.parametrize(
        "data",
        [data for files in HEADERS.values() for data in files.values()],
        ids=[f"{kind}: {name}" for kind, files in HEADERS.items() for name in files],
    )
    def test_are_read_with_malformed_metadata(self, data):
        picture = decode(data)
        assert (picture.width, picture.height) == (90, 60)
        assert error_of(picture.grey) < 2

    @pytest.mark.parametrize("name", ["AVIF", "HEIC"])
    def test_are_read_beside_broken_exif_in_an_iso_file(self, name):
        assert error_of(decode(iso_beside(name, b"MM\0*\xff\xff\xff\xff")).grey) < 2

    def test_of_a_palette_keep_their_transparency_where_its_checksum_is_wrong(self):
        ink = Image.new("P", (90, 60), 0)
        ink.putpalette([0, 0, 0, 0, 0, 0])
        ink.paste(1, (40, 10, 48, 50))
        data = bytearray(encode(ink, "PNG", transparency=b"\0\xff"))
        at = data.index(b"tRNS") + 6
        data[at : at + 4] = b"oops"
        grey = decode(bytes(data)).grey
        assert (grey[20, 44], grey[20, 10]) == (0, 255)

    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
    def test_are_upright_by_exif_beside_other_broken_metadata(self, name):
        stored = Image.fromarray(np.ascontiguousarray(TURNED))
        data = encode(stored, name, exif=exif_of(6))
        if name == "PNG":
            data = with_chunk(data, b"iCCP", b"icc\0\0nonsense")
        elif name == "JPEG":
            data = data[:2] + segment(0xE2, b"ICC_PROFILE\0\1") + data[2:-2]
        assert error_of(decode(data).grey) < 2

    def test_are_upright_by_xmp_or_by_exif_that_imagemagick_wrote_as_text(self):
        stored = Image.fromarray(np.ascontiguousarray(TURNED))
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
        assert error_of(decode(encode(stored, "PNG", pnginfo=text)).grey) == 0
        raw = b"\nexif\n      %d\n%s\n" % (len(exif_of(6)), exif_of(6).hex().encode())
        data = with_chunk(
            encode(stored, "PNG"), b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)
        )
        assert error_of(decode(data).grey) == 0


class TestBrokenPixels:
    @pytest.mark.parametrize("progressive", [False, True])
    def test_a_jpeg_that_lacks_pixels_is_unreadable_with_and_without_its_end(self, progressive):
        data = encode(GREY.resize((180, 120)), "JPEG", progressive=progressive)
        start = data.rindex(b"\xff\xda") + 20
        for cut in range(start, len(data) - 8, 37):
            with pytest.raises(UnreadableImage, match="cut short"):
                decode(data[:cut])

    def test_a_png_that_lacks_pixels_is_unreadable(self):
        noise = np.random.default_rng(0).integers(0, 255, (60, 90), np.uint8)
        data = encode(Image.fromarray(noise), "PNG")
        for cut in range(60, len(data) - 30, 199):
            with pytest.raises(UnreadableImage):
                decode(data[:cut])

    def test_a_jpeg_2000_with_a_wrong_size_in_its_header_is_not_decoded(self):
        data = bytearray(encode(GREY, "JPEG2000"))
        at = data.index(b"ihdr") + 4
        data[at : at + 8] = struct.pack(">II", 30, 30)
        with pytest.raises(UnreadableImage, match="not the size of its image"):
            decode(bytes(data))


MANY = MOST_PARTS + 1
# (name, file): each would be read for minutes, or unpacked to gigabytes.
HOSTILE = {
    "PNG of chunks": png_beside(chunk(b"tEXt", b"") * MANY),
    "JPEG of comments": jpeg_beside(segment(0xFE, b"") * MANY),
    "JPEG of thumbnails": jpeg_beside(segment(0xE1, b"", length=9), b"\xff\xd8\xff" * 1_000_000),
    "JPEG of fill": jpeg_beside(b"\xff" * 4_000_000 + b"\0"),
    "JPEG of scans without an end": encode(GREY, "JPEG")[:-2] + segment(0xFE, b"") * MANY,
    "WebP of chunks": riff(*[(b"XMP ", b"")] * MANY),
    "GIF of a comment": gif[:781] + b"!\xfe" + b"\1a" * 4_000_000 + b"\0" + gif[781:],
    "PNM of comments": b"P5 " + b"#\n" * 4_000_000 + b"90 60 255\n" + PATTERN.tobytes(),
    "JPEG 2000 of boxes": (jp2 := encode(GREY, "JPEG2000"))[:32]
    + b"\0\0\0\x08free" * MANY
    + jp2[32:],
}


def tiff_of_claims() -> bytes:
    """A TIFF of 8 MB with 60,000 fields, each of which says to be the same 7 MB."""
    body = PATTERN.tobytes() + bytes(7_000_000)
    fields = {256: 90, 257: 60, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 60, 279: 5400}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items()]
    entries += [struct.pack("<HHII", tag, 7, 7_000_000, 8) for tag in range(1000, 32_000)]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


class TestHostileMetadata:
    @pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
    def test_takes_little_time(self, data):
        started = time.process_time()
        with contextlib.suppress(UnreadableImage):
            assert error_of(decode(data).grey) < 2
        assert time.process_time() - started < 2

    def test_takes_little_memory(self):
        exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", 60_000)
        exif += b"".join(struct.pack(">HHII", tag, 7, 900_000, 8) for tag in range(60_000))
        files = [
            tiff_of_claims(),
            png_beside(chunk(b"eXIf", exif + bytes(900_000))),
            PNGS["much text"],
            iso_beside("AVIF", exif + bytes(900_000)),
        ]
        answers, _, after = peak_of(*files)
        assert answers == ["TIFF", "PNG", "PNG", "AVIF"]
        assert after < 400

    @given(
        st.sampled_from(FORMATS),
        st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    )
    @settings(deadline=None, max_examples=200)
    def test_of_any_kind_is_a_picture_or_a_typed_error_in_little_time(self, name, changes):
        exif = b"Exif\0\0" + exif_of(6) + bytes(64)
        takes_exif = name in ("PNG", "JPEG", "WEBP", "AVIF", "HEIC")
        data = bytearray(
            encode(GREY.convert("RGB"), name, **({"exif": exif} if takes_exif else {}))
        )
        for place, content in changes:
            at = int(place * len(data))
            data[at : at + len(content)] = content
        started = time.process_time()
        try:
            decode(bytes(data))
        except UnreadableImage:
            pass
        except Exception as error:
            assert type(error).__name__ in ("TooLarge", "UnsupportedFormat")
        assert time.process_time() - started < 5

    @given(st.sampled_from(FORMATS), st.binary(max_size=300))
    @settings(deadline=None, max_examples=200)
    def test_removing_metadata_raises_only_typed_errors(self, name, data):
        assert len(without_metadata(data, name).data) <= len(data) + 64
