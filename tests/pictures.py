"""Test pictures in every supported format."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageDraw

from tests.conftest import require

FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PNM"),
    *("AVIF", "JPEG2000", "HEIC"),
)


def pattern() -> np.ndarray:
    """Draw a smooth grey picture (60, 90) from black to white, without any symmetry."""
    picture = Image.new("L", (90, 60), 255)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((8, 8, 40, 22), fill=0)
    draw.rectangle((8, 22, 20, 50), fill=60)
    draw.ellipse((55, 28, 80, 52), fill=130)
    return np.asarray(picture.resize((45, 30)).resize((90, 60), Image.Resampling.BILINEAR))


PATTERN = pattern()
GREY = Image.fromarray(PATTERN)


def encode(picture: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if name in ("JPEG", "WEBP", "HEIC", "AVIF"):
        options = {"quality": 95} | options
    name = "PPM" if name == "PNM" else name
    if name == "HEIC":
        pillow_heif.from_pillow(picture).save(buffer, **options)
    else:
        picture.save(buffer, name, **options)
    return buffer.getvalue()


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Insert a chunk before the first IDAT chunk of a PNG."""
    at = png.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(content)) + kind + content
    chunk += struct.pack(">I", zlib.crc32(kind + content))
    return png[:at] + chunk + png[at:]


def error_of(grey: np.ndarray, expected: np.ndarray = PATTERN) -> float:
    """Return the mean absolute difference in grey levels."""
    assert grey.dtype == np.uint8
    assert grey.shape == expected.shape
    return float(np.abs(grey.astype(float) - expected).mean())


# Decodes the files whose hexadecimal forms are the lines of standard input.
MEASURE = """
import re, sys
from pathlib import Path
import pillow_heif
from digits.image import decode
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
files = [bytes.fromhex(line) for line in sys.stdin]
print(peak())
for data in files:
    try:
        print(decode(data).format)
    except Exception as error:
        print(type(error).__name__)
print(peak())
"""


def peak_of(*files: bytes) -> tuple[list[str], float, float]:
    """Decode files in a new process; return each format or error, and peak MB before and after."""
    require("/proc/self/status")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE],
        input="\n".join(data.hex() for data in files),
        capture_output=True,
        text=True,
        check=True,
    )
    before, *answers, after = done.stdout.split()
    return answers, float(before), float(after)
