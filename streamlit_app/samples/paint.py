"""Render the sample pictures: MNIST test digits as ink, chalk and pencil on paper and slate.

    python -m streamlit_app.samples.paint

The app does not import this module: it makes the pictures reproducible.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

MNIST = Path(__file__).parents[2] / "training_job/data/mnist.npz"

Plane = NDArray[np.float64]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """Parameters of a rendered picture.

    Attributes
    ----------
    digits
        Indices of MNIST test images, written side by side.
    size
        Width and height in pixels.
    height
        Height of the writing, as a share of the picture's height.
    grain
        How much the texture of the background shows through the stroke, 0 to 1.
    thin
        How much finer the pen is than MNIST's, 0 to 0.4.
    rules
        Spacing of printed squares in pixels; 0 for none.
    """

    digits: tuple[int, ...]
    ground: Colour
    ink: Colour
    size: tuple[int, int] = (480, 480)
    height: float = 0.55
    turn: float = 0.0
    grain: float = 0.0
    thin: float = 0.0
    rules: int = 0


SCENES = {
    "fountain_pen.jpg": Scene((0,), (249, 243, 228), (27, 44, 120), thin=0.12, turn=3),
    "chalk.jpg": Scene((15,), (44, 62, 56), (236, 235, 226), grain=0.45, turn=-4),
    "pencil.jpg": Scene((32,), (246, 246, 242), (74, 76, 84), grain=0.3, thin=0.2, rules=40),
    "year.jpg": Scene(
        (2, 7, 12, 61), (250, 247, 240), (24, 24, 30), size=(560, 420), height=0.29, turn=2
    ),
    "scrawl.jpg": Scene((625,), (240, 234, 224), (120, 38, 30)),
}


def main() -> None:
    """Write every picture beside this module."""
    with np.load(MNIST, allow_pickle=False) as arrays:
        images = arrays["x_test"]
    for seed, (name, scene) in enumerate(SCENES.items()):
        picture = paint(scene, images, np.random.default_rng(seed))
        picture.save(Path(__file__).parent / name, quality=82, optimize=True)


def paint(scene: Scene, images: NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Render one picture from MNIST images, uint8 (n, 28, 28) white on black."""
    width, height = scene.size
    stroke = _placed(_written([images[index] for index in scene.digits], rng), scene)
    rough = _texture(height, width, rng)
    stroke = np.clip(stroke * (1 - scene.grain * np.clip(rough + 0.5, 0, 1.6)), 0, 1)
    ground = np.asarray(scene.ground) * (1 + 0.025 * rough[..., None])
    if scene.rules:
        y, x = np.mgrid[:height, :width]
        printed = ((x + 14) % scene.rules < 2) | ((y + 9) % scene.rules < 2)
        ground = np.where(printed[..., None], ground * (0.84, 0.9, 0.97), ground)
    colour = ground + stroke[..., None] * (np.asarray(scene.ink) - ground)
    colour = colour * _light(height, width)[..., None] + rng.normal(0, 2, (height, width, 1))
    return Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))


def _written(digits: list[NDArray[np.uint8]], rng: np.random.Generator) -> Image.Image:
    """Place digits side by side with uneven gaps, as one grey picture."""
    columns: list[NDArray[np.uint8]] = []
    for digit in digits:
        inked = np.flatnonzero(digit.max(axis=0) > 40)
        gap = np.zeros((28, int(rng.integers(4, 8))), np.uint8)
        columns += [gap, digit[:, inked[0] : inked[-1] + 1]]
    row = np.concatenate([*columns[1:]], axis=1)
    inked = np.flatnonzero(row.max(axis=1) > 40)
    return Image.fromarray(np.pad(row[inked[0] : inked[-1] + 1], 3))


def _placed(row: Image.Image, scene: Scene) -> Plane:
    """Return the writing's ink coverage in 0..1, (h, w), rotated and centred, with soft edges."""
    width, height = scene.size
    scale = scene.height * height / (row.height - 6)
    size = (round(row.width * scale), round(row.height * scale))
    # Blurring before thresholding rounds off the staircase that enlarging leaves.
    large = row.resize(size, Image.Resampling.LANCZOS)
    large = large.filter(ImageFilter.GaussianBlur(0.45 * scale))
    turned = large.rotate(scene.turn, Image.Resampling.BICUBIC, expand=True)
    page = Image.new("L", scene.size)
    page.paste(turned, ((width - turned.width) // 2, (height - turned.height) // 2))
    return np.clip((np.asarray(page) / 255 - 0.42 - scene.thin) * scale * 0.7 + 0.5, 0, 1)


def _texture(height: int, width: int, rng: np.random.Generator) -> Plane:
    """Return the texture of paper or slate, (h, w), with mean 0 and mostly within ±1."""
    total = np.zeros((height, width))
    for cell in (2, 5, 16):
        noise = rng.normal(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
        large = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(large) / 3
    return total


def _light(height: int, width: int) -> Plane:
    """Return the light of a window at the upper left, (h, w), at most 1."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.asarray(1 - 0.13 * (0.6 * x + 0.4 * y) - 0.05 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))


if __name__ == "__main__":
    main()
