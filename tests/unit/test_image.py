"""Any bytes become the right greyscale picture or one of three errors, within the limits."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw
from sklearn.datasets import load_digits

from digits import image as limits
from digits.errors import ImageError, TooLarge, UnreadableImage, UnsupportedFormat
from digits.image import Picture, decode, without_enlargement
from tests.pictures import FORMATS, GREY, PATTERN, encode, error_of, peak_of, with_chunk
from training_job import strokes, synthetic_photos

# Pillow warns of broken metadata and reads on; in service that is a line in a log.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def tiff(tags: dict[int, Any], body: bytes) -> bytes:
    """A little-endian TIFF; `body` lies at its byte 8, and every tag is one or more of 32 bits."""
    entries = b""
    for tag, value in sorted(tags.items()):
        packed = np.atleast_1d(value).astype("<u4").tobytes()
        entries += struct.pack("<HHI", tag, 4, len(packed) // 4)
        entries += packed if len(packed) == 4 else struct.pack("<I", 8 + len(body))
        body += packed if len(packed) > 4 else b""
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def grey_tiff(bits: Any, samples: np.ndarray, **tags: int) -> bytes:
    """An uncompressed TIFF of the 90 by 60 pattern in `bits` a sample."""
    described = {256: 90, 257: 60, 258: bits, 259: 1, 262: 1, 273: 8, 277: np.size(bits)}
    body = samples.tobytes()
    extra = {int(name.removeprefix("tag")): value for name, value in tags.items()}
    return tiff(described | {278: 60, 279: len(body)} | extra, body)


def sixteen(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture.astype(np.uint16) * 257)


def lab() -> Image.Image:
    profiles = [ImageCms.createProfile(space) for space in ("sRGB", "LAB")]
    converted = ImageCms.profileToProfile(GREY.convert("RGB"), *profiles, outputMode="LAB")
    assert converted is not None
    return converted


class TestFormatsAndModes:
    @pytest.mark.parametrize(
        ("name", "mode"),
        [
            *((name, mode) for name in FORMATS for mode in ("L", "RGB")),
            *((name, "P") for name in ("PNG", "WEBP", "GIF", "BMP", "TIFF")),
            *(
                (name, "RGBA")
                for name in ("PNG", "WEBP", "BMP", "TIFF", "HEIC", "AVIF", "JPEG2000")
            ),
        ],
    )
    def test_every_format_gives_the_same_grey_picture(self, name, mode):
        picture = decode(encode(GREY.convert(mode), name))
        assert (picture.width, picture.height, picture.format) == (90, 60, name)
        assert error_of(picture.grey) < 1.5

    @pytest.mark.parametrize(
        ("name", "picture", "bound"),
        [
            ("PNG", GREY.convert("LA"), 0.01),
            ("PNG", sixteen(PATTERN), 0.01),
            ("JPEG", GREY.convert("CMYK"), 1),
            ("JPEG", GREY.convert("YCbCr"), 1),
            ("WEBP", GREY.convert("RGBA"), 1),
            ("GIF", GREY, 0.01),
            ("TIFF", GREY.convert("LA"), 0.01),
            ("TIFF", GREY.convert("LA").convert("PA"), 0.01),
            ("TIFF", sixteen(PATTERN), 0.01),
            ("TIFF", Image.fromarray((PATTERN.astype(np.uint16) * 257).astype(">u2")), 0.01),
            ("TIFF", Image.fromarray(PATTERN.astype(np.int32) * 257), 0.01),
            ("TIFF", Image.fromarray(PATTERN / np.float32(255)), 0.01),
            ("TIFF", GREY.convert("CMYK"), 0.01),
            ("TIFF", GREY.convert("YCbCr"), 0.01),
            ("TIFF", lab(), 6),  # its lightness is perceptual, not luminance
            ("HEIC", GREY.convert("LA"), 1),
            ("HEIC", sixteen(PATTERN), 1),
            ("PNM", sixteen(PATTERN), 0.01),
            ("JPEG2000", GREY.convert("LA"), 0.01),
            ("JPEG2000", sixteen(PATTERN), 0.01),
        ],
        ids=lambda value: getattr(value, "mode", None) or str(value),
    )
    def test_every_mode_gives_the_same_grey_picture(self, name, picture, bound):
        assert error_of(decode(encode(picture, name)).grey) < bound

    @pytest.mark.parametrize("name", ["PNG", "GIF", "BMP", "TIFF", "JPEG", "PNM"])
    def test_one_bit_is_black_and_white(self, name):
        bits = GREY.convert("1", dither=Image.Dither.NONE)
        assert error_of(decode(encode(bits, name)).grey, np.asarray(bits) * 255) < 2

    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    def test_a_cameras_depth_in_sixteen_bits_keeps_its_white(self, bits):
        white = 2**bits - 1
        samples = np.round(PATTERN / 255 * white).astype("<u2")
        assert error_of(decode(grey_tiff(16, samples)).grey) < 0.5

    def test_floats_that_are_not_finite_are_black(self):
        values = PATTERN / np.float32(255)
        values[5, 5:8] = np.nan, np.inf, -np.inf
        grey = decode(encode(Image.fromarray(values), "TIFF")).grey
        assert grey[5, 5:8].tolist() == [0, 0, 0]
        assert grey[0, 0] == 255

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
    def test_compressed_tiffs_are_read(self, compression):
        data = encode(GREY, "TIFF", compression=compression)
        assert error_of(decode(data).grey) < 2

    @pytest.mark.parametrize("compression", ["group3", "group4"])
    def test_faxes_are_read(self, compression):
        bits = GREY.convert("1", dither=Image.Dither.NONE)
        data = encode(bits, "TIFF", compression=compression)
        assert error_of(decode(data).grey, np.asarray(bits) * 255) == 0

    def test_a_tiled_tiff_is_read(self):
        tile = np.zeros((64, 96), np.uint8)
        tile[:60, :90] = PATTERN
        body = tile.tobytes()
        tags = {256: 90, 257: 60, 258: 8, 259: 1, 262: 1, 277: 1}
        tiles = {322: 96, 323: 64, 324: 8, 325: len(body)}
        assert error_of(decode(tiff(tags | tiles, body)).grey) == 0

    def test_the_format_is_detected_by_content_only(self):
        """`decode` is given no name; a JPEG that somebody calls .png is still a JPEG."""
        assert decode(encode(GREY, "JPEG")).format == "JPEG"

    @pytest.mark.parametrize(
        "name", ["GIF", "WEBP", "TIFF", "PNG", "MPO"], ids=lambda name: f"{name} of several"
    )
    def test_the_first_of_several_frames_is_read(self, name):
        others = [GREY.transpose(Image.Transpose.ROTATE_180), Image.new("L", GREY.size)]
        data = encode(GREY, name, save_all=True, append_images=others)
        with Image.open(io.BytesIO(data)) as several:
            assert several.n_frames == 3
        assert error_of(decode(data).grey) < 1.5

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_large_picture_is_brought_to_a_working_size(self, name):
        picture = decode(encode(GREY.resize((1350, 900)), name))
        assert (picture.width, picture.height) == (1350, 900)
        assert limits.WORKING_SIDE <= max(picture.grey.shape) < 2 * limits.WORKING_SIDE
        small = Image.fromarray(picture.grey).resize((90, 60), Image.Resampling.BOX)
        assert error_of(np.asarray(small)) < 2

    @pytest.mark.parametrize(
        ("name", "picture"),
        [
            ("PNG", GREY.convert("P")),
            ("PNG", GREY.convert("1")),  # dithered: greys only once it is averaged
            ("PNG", sixteen(PATTERN)),
            ("TIFF", GREY.convert("YCbCr")),
            ("TIFF", GREY.convert("CMYK")),
            ("TIFF", GREY.convert("LA").convert("PA")),
            ("TIFF", lab()),
        ],
        ids=lambda value: getattr(value, "mode", value),
    )
    def test_every_mode_can_be_reduced(self, name, picture):
        large = picture.resize((900, 600), Image.Resampling.NEAREST)
        small = Image.fromarray(decode(encode(large, name)).grey)
        assert small.size == (300, 200)
        small = small.resize((30, 20), Image.Resampling.BOX)
        expected = np.asarray(GREY.resize((30, 20), Image.Resampling.BOX))
        assert error_of(np.asarray(small), expected) < (8 if picture.mode == "1" else 2)

    @pytest.mark.parametrize("size", [(8, 60_000), (60_000, 8)])
    def test_a_strip_keeps_at_least_a_pixel_of_its_width(self, size):
        picture = decode(encode(Image.new("L", size, 200), "JPEG"))
        assert min(picture.grey.shape) >= 1
        assert (picture.width, picture.height) == size


# How the stored rows and columns lie in the upright picture: Exif 2.32, tag 274. Each is given as
# what to do to the upright picture to get the stored one.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.T,
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].T,
    8: lambda upright: np.rot90(upright, -1),
}


class TestOrientation:
    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
    def test_a_turned_picture_comes_upright_with_its_own_size(self, name, orientation):
        exif = Image.Exif()
        exif[274] = orientation
        stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PATTERN))).convert("RGB")
        data = encode(stored, name, exif=exif.tobytes() if name == "HEIC" else exif)
        picture = decode(data)
        assert (picture.width, picture.height) == (90, 60)
        assert error_of(picture.grey) < 1.5

    def test_a_large_photograph_is_turned_after_it_was_reduced(self):
        exif = Image.Exif()
        exif[274] = 6
        stored = Image.fromarray(np.rot90(PATTERN)).resize((1800, 2700))
        picture = decode(encode(stored, "JPEG", exif=exif))
        assert (picture.width, picture.height) == (2700, 1800)
        small = Image.fromarray(picture.grey).resize((90, 60), Image.Resampling.BOX)
        assert error_of(np.asarray(small)) < 2

    @pytest.mark.parametrize("orientation", [0, 9, 65_535])
    def test_an_invalid_orientation_is_ignored(self, orientation):
        exif = Image.Exif()
        exif[274] = orientation
        assert error_of(decode(encode(GREY, "JPEG", exif=exif)).grey) < 1.5

    @pytest.mark.parametrize("exif", [b"", b"garbage", b"MM\0*\xff\xff\xff"])
    def test_malformed_metadata_does_not_affect_the_picture(self, exif):
        assert error_of(decode(encode(GREY, "JPEG", exif=b"Exif\0\0" + exif)).grey) < 1.5


class TestTransparency:
    INK = Image.new("L", (90, 60))
    ImageDraw.Draw(INK).rectangle((40, 10, 48, 50), fill=255)
    SHAPE = np.asarray(INK) > 0

    @pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "HEIC", "GIF"])
    @pytest.mark.parametrize(("ink", "behind"), [(0, 255), (255, 0), (60, 255), (200, 0)])
    def test_ink_without_paper_is_composited_on_the_farther_of_black_and_white(
        self, name, ink, behind
    ):
        picture = Image.merge("LA", [Image.new("L", (90, 60), ink), self.INK])
        options = {"lossless": True} if name == "WEBP" else {}
        grey = decode(encode(picture.convert("RGBA"), name, **options)).grey
        assert np.abs(grey[self.SHAPE].astype(int) - ink).mean() < 3
        assert np.abs(grey[~self.SHAPE].astype(int) - behind).mean() < 3

    @pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
    def test_a_shade_that_a_png_calls_transparent_is_paper(self, mode):
        white = self.INK.point(lambda level: 255 - level).convert(mode)
        shade = {"L": 255, "RGB": (255, 255, 255), "P": white.getpixel((0, 0)), "1": 255}[mode]
        grey = decode(encode(white, "PNG", transparency=shade)).grey
        assert grey[self.SHAPE].max() == 0
        assert grey[~self.SHAPE].min() == 255

    def test_sixteen_bits_with_a_transparent_shade_are_read(self):
        data = with_chunk(encode(sixteen(PATTERN), "PNG"), b"tRNS", struct.pack(">H", 65_535))
        assert error_of(decode(data).grey) < 0.01

    def test_premultiplied_grey_keeps_its_alpha(self):
        alpha = np.asarray(self.INK)
        samples = np.stack([np.zeros_like(alpha), alpha], axis=-1)
        grey = decode(grey_tiff((8, 8), samples, tag338=1)).grey
        assert grey[self.SHAPE].max() == 0
        assert grey[~self.SHAPE].min() == 255

    def test_premultiplied_colour_keeps_its_alpha(self):
        samples = np.zeros((60, 90, 4), np.uint8)
        samples[self.SHAPE] = 0, 0, 0, 255
        buffer = io.BytesIO()
        pillow_heif.from_bytes("RGBa", (90, 60), samples.tobytes()).save(buffer, quality=95)
        grey = decode(buffer.getvalue()).grey
        assert grey[self.SHAPE].mean() < 3
        assert grey[~self.SHAPE].mean() > 252

    def test_a_palette_with_alpha_keeps_its_alpha(self):
        picture = Image.new("P", (90, 60), 3)
        picture.putpalette([*[255] * 9, 0, 0, 0])
        picture.putalpha(self.INK)
        grey = decode(encode(picture, "TIFF")).grey
        assert grey[self.SHAPE].max() == 0
        assert grey[~self.SHAPE].min() == 255

    @pytest.mark.parametrize(("paper", "ink"), [(240, 20), (50, 230)])
    def test_a_transparent_margin_around_opaque_paper_becomes_paper(self, paper, ink):
        page = np.full((60, 90), paper, np.uint8)
        page[20:40, 30:40] = ink
        alpha = np.zeros_like(page)
        alpha[10:50, 15:75] = 255
        picture = Image.merge("LA", [Image.fromarray(page), Image.fromarray(alpha)])
        assert error_of(decode(encode(picture, "PNG")).grey, page) == 0

    @pytest.mark.parametrize("shade", [0, 255])
    def test_a_fully_transparent_picture_is_blank(self, shade):
        grey = decode(encode(Image.new("LA", (90, 60), (shade, 0)), "PNG")).grey
        assert np.ptp(grey) == 0

    def test_what_is_hidden_by_transparency_does_not_bleed_into_a_reduced_picture(self):
        """Averaging colours without their alpha would leave a grey rim about the ink."""
        ink = self.INK.resize((720, 480), Image.Resampling.NEAREST)
        hidden = ink.point(lambda level: 255 - level)  # white wherever it cannot be seen
        picture = Image.merge("RGBA", [hidden, hidden, hidden, ink])
        grey = decode(encode(picture, "PNG", compress_level=1)).grey
        assert set(np.unique(grey)) == {0, 255}


def jpeg_of(side: int, **options: Any) -> bytes:
    """A JPEG of few bytes that declares `side` by `side` pixels; what is missing is grey."""
    mode = options.pop("mode", "RGB")
    data = bytearray(encode(Image.new(mode, (64, 64)), "JPEG", subsampling=0, **options))
    frame = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def declaring(name: str, width: int, height: int) -> bytes:
    """A file of few bytes whose header declares that size; there is no such picture in it."""
    data = bytearray(encode(Image.new("RGB", (64, 64)), name))
    if name == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif name == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif name == "PNM":
        return b"P6 %d %d 255\n" % (width, height) + bytes(64)
    elif name == "JPEG2000":
        data = bytearray(encode(Image.new("RGB", (64, 64)), name))
        at = data.index(b"ihdr") + 4
        data[at : at + 8] = struct.pack(">II", height, width)
        at = data.index(b"\xff\x4f\xff\x51") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    elif name == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif name == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif name == "TIFF":
        return tiff({256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 279: 8}, bytes(8))
    elif name == "WEBP":
        data = bytearray(encode(Image.new("RGB", (64, 64)), name, lossless=True))
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


class TestLimits:
    def test_one_byte_too_many_is_too_large(self):
        data = encode(GREY, "PNG")
        assert decode(data + bytes(limits.MAX_BYTES - len(data))).format == "PNG"
        with pytest.raises(TooLarge, match="20,971,521 bytes, more than the 20,971,520"):
            decode(data + bytes(limits.MAX_BYTES - len(data) + 1))

    def test_a_lower_limit_of_bytes_can_be_passed(self):
        data = encode(GREY, "PNG")
        assert decode(data, max_bytes=len(data)).format == "PNG"
        with pytest.raises(TooLarge):
            decode(data, max_bytes=len(data) - 1)

    @pytest.mark.parametrize("name", FORMATS)
    def test_too_many_pixels_are_detected_by_the_header_only(self, name):
        """Nothing is decoded: there are no pixels in these files, and yet nothing is missed."""
        size = (10_000, 5_001) if name == "JPEG" else (4_000, 4_001)
        started = time.process_time()
        with pytest.raises(TooLarge, match="megapixels"):
            decode(declaring(name, *size))
        assert time.process_time() - started < 0.5

    def test_a_bomb_is_too_large_in_little_memory(self):
        names = ("PNG", "GIF", "BMP", "TIFF", "JPEG")
        answers, before, after = peak_of(*(declaring(name, 60_000, 60_000) for name in names))
        assert answers == ["TooLarge"] * len(names)
        assert after - before < 30

    @pytest.mark.parametrize(("name", "size"), [("PNG", (4000, 4000)), ("JPEG", (10_000, 5_000))])
    def test_as_many_pixels_as_are_allowed_are_read(self, name, size):
        picture = decode(encode(Image.new("L", size, 200), name))
        assert (picture.width, picture.height) == size
        assert np.ptp(picture.grey) == 0

    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize("size", [(7, 40), (40, 7)])
    def test_fewer_than_eight_pixels_on_a_side_are_unreadable(self, name, size):
        with pytest.raises(UnreadableImage, match="each side needs at least 8"):
            decode(encode(Image.new("RGB", size), name))

    def test_eight_pixels_on_a_side_are_enough(self):
        assert decode(encode(Image.new("L", (8, 8)), "PNG")).grey.shape == (8, 8)

    def test_the_largest_jpeg_takes_little_memory(self):
        """It is decoded at an eighth of its size, row by row."""
        answers, before, after = peak_of(jpeg_of(7_071))
        assert answers == ["JPEG"]
        assert after - before < 30

    def test_the_largest_jpeg_of_several_scans_stays_below_400_mb(self):
        """All its coefficients are kept until the last scan: 2 bytes a pixel and colour."""
        answers, _, after = peak_of(jpeg_of(7_071, progressive=True))
        assert answers == ["JPEG"]
        assert after < 400

    def test_four_channels_may_have_as_many_coefficients_as_three(self):
        with pytest.raises(TooLarge, match=r"37\.5 megapixels"):
            decode(jpeg_of(6_124, mode="CMYK", progressive=True))
        answers, _, after = peak_of(jpeg_of(6_123, mode="CMYK", progressive=True))
        assert answers == ["JPEG"]
        assert after < 400

    def test_a_tile_much_larger_than_its_tiff_is_not_decoded(self):
        """A megabyte of zeros, deflated, would unpack to a tile of 1.2 GB for 100 x 100 pixels."""
        body = zlib.compress(bytes(1000))
        tags = {256: 100, 257: 100, 258: 8, 259: 8, 262: 1, 277: 1}
        tiles = {322: 20_000, 323: 20_000, 324: 8, 325: len(body)}
        with pytest.raises(TooLarge):
            decode(tiff(tags | tiles, body))


def jpeg_with_scans(count: int, between: bytes = b"") -> bytes:
    """A progressive JPEG with `count` scans more, each of which says in two bytes: nothing here."""
    data = encode(GREY, "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    # One code, 0, for "the next 2^14 and more blocks have ended"; fourteen bits say how many more.
    table = b"\xff\xc4" + struct.pack(">H", 20) + bytes([0x10, 1, *[0] * 15, 0xE0])
    scan = b"\xff\xda" + struct.pack(">H", 8) + bytes([1, 1, 0, 1, 63, 0]) + b"\x00\x00"
    return data[:end] + table + (between + scan) * count + data[end:]


class TestScans:
    def test_a_progressive_jpeg_is_read(self):
        assert error_of(decode(encode(GREY, "JPEG", progressive=True)).grey) < 1.5

    def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(self):
        """At 50 megapixels each would take milliseconds, and 20 MB hold 300,000 of them."""
        started = time.process_time()
        with pytest.raises(UnreadableImage, match="more than 100 scans"):
            decode(jpeg_with_scans(200_000))
        assert time.process_time() - started < 1

    def test_a_few_more_scans_than_usual_are_read(self):
        assert decode(jpeg_with_scans(50)).format == "JPEG"

    @pytest.mark.parametrize(
        "between",
        [b"\xff\xfe\0\x04\xff\xd9", b"\xff\xd0", b"\xff\x01", b"\xff\xff", b"\xff\xfe\0\x02"],
        ids=["an end in a comment", "a restart", "a marker of no length", "fill", "no comment"],
    )
    def test_scans_cannot_be_hidden_from_the_count(self, between):
        with pytest.raises(UnreadableImage, match="more than 100 scans"):
            decode(jpeg_with_scans(300, between))

    def test_scan_markers_in_metadata_or_after_the_image_do_not_count(self):
        """Thumbnails and the films behind a telephone's "motion photos" are full of it."""
        data = encode(GREY, "JPEG")
        marks = b"\xff\xda\0\x02" * 5_000
        comment = b"\xff\xfe" + struct.pack(">H", len(marks) + 2) + marks
        assert error_of(decode(data[:2] + comment + data[2:] + marks * 4).grey) < 1.5


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><text>7</text></svg>'
OTHERS = {
    "text": b"SECRET 7",
    "svg": SVG,
    "svg with a declaration": b'<?xml version="1.0"?>' + SVG,
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "html": b"<!doctype html><title>SECRET</title>",
    "json": b'{"images": []}',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "jpeg xl": b"\0\0\0\x0cJXL \r\n\x87\n",
    "film": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2",
    "zip": b"PK\3\4" + bytes(30),
    "one byte": b"\xff",
    "zeros": bytes(1000),
}


class TestOtherBytes:
    @pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
    def test_other_bytes_are_an_unsupported_format(self, data):
        with pytest.raises(UnsupportedFormat, match="convert it to PNG, JPEG, WebP"):
            decode(data)

    def test_an_empty_file_is_unreadable(self):
        with pytest.raises(UnreadableImage, match="empty"):
            decode(b"")

    def test_other_formats_of_pillow_are_unsupported(self):
        for name in ("TGA", "PCX", "ICO"):
            with pytest.raises(UnsupportedFormat):
                decode(encode(GREY, name))

    @pytest.mark.parametrize("name", FORMATS)
    def test_the_first_bytes_alone_are_unreadable(self, name):
        with pytest.raises(UnreadableImage, match=r"starts like .*save it again"):
            decode(encode(GREY, name)[:20])

    @pytest.mark.parametrize("name", FORMATS)
    def test_bytes_cut_off_anywhere_are_unreadable_or_a_picture(self, name):
        data = encode(GREY.convert("RGB"), name)
        for length in {*range(16, min(400, len(data)), 8), *range(400, len(data), 97)}:
            with contextlib.suppress(UnreadableImage):
                assert decode(data[:length]).width == 90

    def test_heic_without_its_library_says_what_to_do(self, monkeypatch, decoders):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(UnsupportedFormat, match=r"needs pillow-heif.*send a PNG or a JPEG"):
            decode(encode(GREY, "HEIC"))

    def test_a_message_is_a_sentence_without_input_bytes(self):
        secret = b"SECRET"
        commented = with_chunk(encode(GREY, "PNG"), b"tEXt", b"Title\0SECRET")
        inputs = [
            *(b"", secret, SVG + secret, commented[:-30]),
            *(encode(GREY, name)[:30] + secret for name in FORMATS),
            *(declaring(name, 60_000, 60_000) + secret for name in ("PNG", "GIF", "BMP")),
            encode(Image.new("L", (3, 3)), "PNG") + secret,
            jpeg_with_scans(300) + secret,
        ]
        for data in inputs:
            with pytest.raises(ImageError) as caught:
                decode(data)
            message = str(caught.value)
            assert "SECRET" not in message
            assert message.endswith(".")
            assert message[0].isupper()
            assert len(message) < 200


def valid_files() -> list[bytes]:
    """One or more small files of every format, for spoiling."""
    exif = Image.Exif()
    exif[274] = 6
    small = GREY.resize((45, 30))
    files = [
        encode(small.convert(mode), name)
        for name in FORMATS
        for mode in ("L", "RGB", "P", "RGBA")
        if (name, mode) != ("JPEG", "RGBA")
        and (mode != "P" or name in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIC"))
    ]
    files += [encode(small, name, exif=exif.tobytes()) for name in ("JPEG", "PNG", "WEBP")]
    files += [
        encode(small, "TIFF", compression=method)
        for method in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    ]
    files += [encode(small.convert("1"), "TIFF", compression="group4")]
    files += [encode(small, "JPEG", progressive=True), encode(small.convert("CMYK"), "JPEG")]
    files += [
        encode(small, name, save_all=True, append_images=[small.rotate(90)])
        for name in ("GIF", "WEBP", "PNG", "TIFF", "MPO")
    ]
    return files


VALID = valid_files()


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A valid file of some format with bytes changed, cut off, or another file's behind them."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        reach = draw(st.sampled_from((64, 300, len(data)))) - 1
        data[draw(st.integers(0, min(reach, len(data) - 1)))] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(data)) | st.just(len(data)))
    tail = draw(st.just(b"") | st.sampled_from(VALID))
    return bytes(data[:end]) + tail[draw(st.integers(0, len(tail))) :]


def check(data: bytes) -> None:
    try:
        picture = decode(data)
    except (TooLarge, UnsupportedFormat, UnreadableImage):
        return
    assert picture.format in FORMATS
    assert picture.grey.dtype == np.uint8
    assert picture.grey.ndim == 2
    assert min(picture.width, picture.height) >= limits.MIN_SIDE
    assert max(picture.grey.shape) < 2 * limits.WORKING_SIDE


class TestAnyBytes:
    @given(st.binary(max_size=200))
    @settings(deadline=None, max_examples=200)
    def test_any_bytes_are_a_picture_or_a_typed_error(self, data):
        check(data)

    @given(st.sampled_from([file[:24] for file in VALID]), st.binary(max_size=200))
    @settings(deadline=None, max_examples=200)
    def test_any_bytes_after_a_valid_start_are_a_picture_or_a_typed_error(self, start, data):
        check(start + data)

    @given(spoilt())
    @settings(deadline=None, max_examples=500)
    def test_a_corrupted_file_is_a_picture_or_a_typed_error(self, data):
        check(data)


# Every thread waits for the others, so that Pillow's plugins are first looked for by all at once.
FIRST = """
import sys, threading
from digits.image import decode
files = [bytes.fromhex(line) for line in sys.stdin.read().split()]
start, answers = threading.Barrier(len(files)), []
def read(data):
    start.wait()
    answers.append(decode(data).grey.shape)
threads = [threading.Thread(target=read, args=(data,)) for data in files]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(len(answers))
"""


class TestThreads:
    def test_many_threads_read_what_one_reads(self):
        alone = {data: decode(data).grey for data in VALID}
        order = VALID * 5
        random.Random(0).shuffle(order)
        with ThreadPoolExecutor(8) as pool:
            for data, picture in zip(order, pool.map(decode, order), strict=True):
                np.testing.assert_array_equal(picture.grey, alone[data])

    def test_the_first_picture_of_a_process_may_come_to_many_threads_at_once(self):
        files = [encode(GREY, name) for name in FORMATS] * 3
        done = subprocess.run(
            [sys.executable, "-c", FIRST],
            input="\n".join(data.hex() for data in files),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(len(files)), done.stderr


class TestEnlargements:
    @pytest.mark.parametrize("times", [8, 12, 50])
    @pytest.mark.parametrize("how", ["NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"])
    def test_the_enlargement_of_a_tiny_picture_is_undone(self, times, how):
        small = Image.fromarray(np.round(load_digits().images[3] * 255 / 16).astype(np.uint8))
        large = small.resize((8 * times, 8 * times), Image.Resampling[how])
        picture = Picture(np.asarray(large), 8 * times, 8 * times, "PNG")

        undone = without_enlargement(picture)

        expected = 8 if how == "NEAREST" else 32
        assert undone.grey.shape == (expected, expected)
        assert (undone.width, undone.height) == (8 * times, 8 * times)

    @pytest.mark.parametrize("level", ["easy", "medium", "hard"])
    def test_a_photo_is_unchanged(self, level):
        digits, truths = synthetic_photos.load(held_out=False)
        for seed in range(20):
            sample = synthetic_photos.photo(digits[seed], int(truths[seed]), level=level, seed=seed)
            picture = decode(sample.data)
            assert without_enlargement(picture) is picture

    @pytest.mark.parametrize("digit", [2, 4, 7])
    def test_a_small_digit_on_a_clean_page_is_seen(self, digit, classifier):
        """It is little of the page, but enlarged from 32 pixels it would be no sharp stroke."""
        drawn = strokes.digit(digit, np.random.default_rng(3)).astype(np.float32)
        page = np.full((590, 450), 250, np.uint8)
        ink = Image.fromarray(drawn).resize((12, 20), Image.Resampling.BOX)
        page[80:100, 60:72] = 250 - 220 * np.asarray(ink)
        picture = Picture(page, 450, 590, "PNG")
        assert without_enlargement(picture) is picture
        assert classifier.read(picture).text == str(digit)

    @pytest.mark.parametrize("digit", [2, 4, 7])
    def test_faint_writing_in_a_deep_shadow_is_seen(self, digit, classifier):
        """It differs little from the coarse picture beside what the shadow does, yet it is lost."""
        drawn = strokes.digit(digit, np.random.default_rng(3))
        shadow = 150 - 90 * np.tanh(np.linspace(-2.5, 5, 900))[:, None] * np.ones(700)
        height, width = drawn.shape
        shadow[650 : 650 + height, 300 : 300 + width] -= 15 * drawn
        picture = Picture(np.round(shadow).astype(np.uint8), 700, 900, "PNG")
        assert without_enlargement(picture) is picture
        assert classifier.read(picture).text == str(digit)

    @pytest.mark.parametrize("faint", [12, 18])
    def test_a_possible_enlargement_without_a_digit_is_read_unchanged(self, faint, classifier):
        drawn = strokes.digit(8, np.random.default_rng(3))
        shadow = 150 - 90 * np.tanh(np.linspace(-2.5, 5, 400))[:, None] * np.ones(400)
        height, width = drawn.shape
        shadow[370 - height : 370, 60 : 60 + width] -= faint * drawn
        picture = Picture(np.round(shadow).astype(np.uint8), 400, 400, "PNG")
        assert without_enlargement(picture) is not picture
        assert classifier.read(picture).text == "8"

    @pytest.mark.parametrize("size", [(8, 8), (8, 300), (300, 8), (300, 200)])
    def test_a_uniform_picture_is_unchanged(self, size):
        grey = np.full(size, 90, np.uint8)
        undone = without_enlargement(Picture(grey, size[1], size[0], "PNG"))
        assert min(undone.grey.shape) >= 8
        assert set(undone.grey.ravel().tolist()) == {90}
