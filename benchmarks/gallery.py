"""Draw a row of synthetic photos with their frames and results, for the README.

    python -m benchmarks.gallery docs/images/photos.png

The photos are rendered from held-out digits and typefaces. They were chosen one of a kind, before
they were recognised.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from digits import Classifier, explain, image
from digits.quiet import nothing_on_stderr
from digits.registry import bundle
from digits.results import Result
from training_job import glyphs, strokes, synthetic_photos

_WIDTH, _HEIGHT, _GAP, _FRAME = 190, 190, 14, 84
_INK, _FAINT = (30, 34, 42), (110, 116, 128)


def main(path: Annotated[Path, typer.Argument(help="The PNG to write.")]) -> None:
    """Render the photos, classify them and draw the picture."""
    with nothing_on_stderr():
        classifier = Classifier(bundle.load())
    samples = _samples()
    sheet = Image.new(
        "RGB", (len(samples) * (_WIDTH + _GAP) + _GAP, _HEIGHT + _FRAME + 64), (255, 255, 255)
    )
    for number, sample in enumerate(samples):
        result = classifier.classify(sample.data, mode="multiple", explain="frame")
        _draw(sheet, _GAP + number * (_WIDTH + _GAP), sample, result)
    sheet.save(path)


def _samples() -> list[synthetic_photos.SyntheticPhoto]:
    pixels, truths = synthetic_photos.load(held_out=True)
    rng = np.random.default_rng(7)
    letters = glyphs.load(held_out=True, digits=False)
    letter = synthetic_photos.stroke(
        letters.images[int(np.flatnonzero(letters.characters == "R")[2])]
    )
    several = [strokes.digit(digit, rng) for digit in (2, 0, 4, 7)]
    return [
        _first("coloured", pixels[3], int(truths[3]), "easy"),
        _first("squared", pixels[11], int(truths[11]), "medium"),
        _first("board", pixels[25], int(truths[25]), "medium"),
        _first("cast shadow", strokes.digit(5, rng), 5, "hard"),
        synthetic_photos.number(several, [2, 0, 4, 7], level="medium", seed=5),
        synthetic_photos.photo(letter, "", level="easy", seed=2),
        synthetic_photos.blank(level="medium", seed=4),
    ]


def _first(
    condition: str,
    digit: synthetic_photos.Digits28 | synthetic_photos.Plane,
    truth: int,
    level: synthetic_photos.Level,
) -> synthetic_photos.SyntheticPhoto:
    """Return the first photo of a digit, by seed, that has a certain paper or light."""
    for seed in range(1_000):
        sample = synthetic_photos.photo(digit, truth, level=level, seed=seed)
        if condition in sample.conditions.values():
            return sample
    raise ValueError(f"No photo of a thousand has {condition}.")


def _draw(
    sheet: Image.Image, left: int, sample: synthetic_photos.SyntheticPhoto, result: Result
) -> None:
    """Draw a photo, its frames below it, and the result below these."""
    draw = ImageDraw.Draw(sheet)
    picture = Image.open(io.BytesIO(sample.data)).convert("RGB")
    turned = image.decode(sample.data)
    if turned.width != picture.width:
        picture = picture.transpose(Image.Transpose.ROTATE_270)
    picture.thumbnail((_WIDTH, _HEIGHT))
    sheet.paste(picture, (left, _GAP + (_HEIGHT - picture.height) // 2))
    side = min(_FRAME, (_WIDTH - 4) // max(1, len(result.digits)))
    for number, digit in enumerate(result.digits):
        assert digit.explanation is not None  # noqa: S101 - asked for above
        frame = explain.picture(digit.explanation.frame)
        enlarged = frame.resize((side - 4, side - 4), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left + number * side, _GAP + _HEIGHT + 8))
    font, small = ImageFont.load_default(20), ImageFont.load_default(13)
    top = _HEIGHT + _FRAME + 18
    draw.text((left, top), result.text or "nothing", fill=_INK, font=font)
    least = min((digit.confidence for digit in result.digits), default=None)
    caption = result.reason.replace("_", " ") if result.reason else f"{least:.1%} sure"
    draw.text((left, top + 26), caption, fill=_FAINT, font=small)


if __name__ == "__main__":
    typer.run(main)
