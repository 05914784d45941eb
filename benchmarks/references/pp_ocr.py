"""Read pictures for `benchmarks.pages` with PP-OCRv6, as the package `rapidocr` provides it.

It runs in its own environment (`requirements/rapidocr.txt`). Each line of standard input is a
request for one picture, `{"mode": …, "data": <base64>}`; each line of standard output is an answer,
`{"text": …, "seconds": <processor time>}`. Pictures of one digit skip text detection, which is more
accurate for them. Other pictures are read with default settings, and the boxes are grouped to text
lines from top to bottom.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
import unicodedata
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image, ImageOps

# Characters that PP-OCRv6 can output for signs, and the characters of the truths for them.
_SIGNS = str.maketrans("–—―−·。、xX", "----..,××")
_ONE_CORE = {"EngineConfig.onnxruntime.intra_op_num_threads": 1, "Global.log_level": "critical"}


def read(data: bytes, engine: Any, *, alone: bool) -> str:
    """Return the text of a picture, line by line; `alone` if it shows a single digit."""
    with Image.open(io.BytesIO(data)) as file:
        picture = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))[..., ::-1]
    if alone:
        read = engine(picture, use_det=False, use_cls=False, use_rec=True)
        text = "".join(read.txts or ())
    else:
        read = engine(picture)
        text = "" if read.txts is None else in_lines(np.asarray(read.boxes), read.txts)
    return unicodedata.normalize("NFKC", text).translate(_SIGNS)


def in_lines(boxes: np.ndarray[Any, Any], texts: tuple[str, ...]) -> str:
    """Join the texts of boxes, float (n, 4, 2) clockwise from the upper left, line by line.

    A box belongs to the line of the box above it if its middle is less than half its height below
    that box's, perpendicular to the median slope of the boxes.
    """
    if len(texts) == 0:
        return ""
    along = boxes[:, 1] - boxes[:, 0]
    slope = np.median(np.arctan2(along[:, 1], along[:, 0]))
    middles = boxes.mean(axis=1) @ np.array([[np.cos(slope), -np.sin(slope)],
                                             [np.sin(slope), np.cos(slope)]])  # fmt: skip
    heights = np.linalg.norm(boxes[:, 3] - boxes[:, 0], axis=1)
    order = np.argsort(middles[:, 1])
    further = np.diff(middles[order, 1]) >= heights[order][1:] / 2
    line_of = dict(zip(order.tolist(), [0, *np.cumsum(further).tolist()], strict=True))
    places = sorted(line_of, key=lambda place: (line_of[place], middles[place, 0]))
    return "\n".join("".join(texts[it] for it in line) for _, line in groupby(places, line_of.get))


def main() -> None:
    """Answer all requests on standard input."""
    import cv2  # noqa: PLC0415 - only its own environment has these two
    from rapidocr import RapidOCR  # noqa: PLC0415

    cv2.setNumThreads(1)
    # An engine keeps state of calls with or without detection, so each mode has its own.
    engines = {mode: RapidOCR(params=_ONE_CORE) for mode in ("single", "multiple")}
    for line in sys.stdin:
        asked = json.loads(line)
        data = base64.b64decode(asked["data"])
        started = time.process_time()
        text = read(data, engines[asked["mode"]], alone=asked["mode"] == "single")
        seconds = time.process_time() - started
        sys.stdout.write(json.dumps({"text": text, "seconds": seconds}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
