"""Paint the pictures of `own/` and `numbers/` again, in the strokes of `training_job.strokes`.

    python -m tests.golden.paint

Each is the first photo of its seed: none was chosen for being read rightly.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from training_job import strokes, synthetic_photos
from training_job.synthetic_photos import Level

HERE = Path(__file__).parent
LEVELS: tuple[Level, ...] = ("easy", "medium")
NUMBERS = ("42", "1998", "307", "56", "8613", "20\n47")


def main() -> None:
    """Write both folders."""
    rng = np.random.default_rng(2026)
    own = [
        synthetic_photos.photo(
            strokes.digit(digit, rng), digit, level=LEVELS[digit % 2], seed=digit
        )
        for digit in range(10)
    ]
    numbers = [_number(text, number, rng) for number, text in enumerate(NUMBERS)]
    for folder, samples in (("own", own), ("numbers", numbers)):
        (HERE / folder).mkdir(exist_ok=True)
        with (HERE / folder / "labels.csv").open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("file", "truth"))
            for sample in samples:
                name = f"{sample.text.replace(chr(10), '-')}.jpg"
                _save(sample.data, HERE / folder / name)
                writer.writerow((name, sample.text))


def _number(text: str, seed: int, rng: np.random.Generator) -> synthetic_photos.SyntheticPhoto:
    digits = [int(digit) for digit in text.replace("\n", "")]
    planes = [strokes.digit(digit, rng) for digit in digits]
    lines = len(text.split("\n"))
    return synthetic_photos.number(planes, digits, level=LEVELS[seed % 2], seed=seed, lines=lines)


def _save(data: bytes, path: Path) -> None:
    """As a JPEG of at most 600 pixels, for the repository's sake."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    picture.thumbnail((600, 600))
    picture.save(path, quality=85)


if __name__ == "__main__":
    main()
