"""The pictures of a bundle. Perceptually uniform or colour-blind-safe colours throughout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

mpl.use("Agg")
sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")

_MOST_ERRORS = 60


def confusion_matrix(counts: Sequence[Sequence[int]], accuracy: float, path: Path) -> None:
    """Draw counts, (10, 10), truth by guess; the colour of the few errors is on a log scale."""
    matrix = np.array(counts)
    with _figure(path, (8.2, 7.4)) as figure:
        axes = figure.add_subplot()
        sns.heatmap(
            matrix,
            annot=True,
            fmt="d",
            cmap="crest",
            norm=LogNorm(1, matrix.max()),
            mask=matrix == 0,
            square=True,
            linewidths=0.5,
            annot_kws={"size": 10},
            cbar_kws={"label": "images (log scale)", "shrink": 0.8},
            ax=axes,
        )
        axes.set(
            title=f"Confusion matrix: {matrix.sum():,} test images, {accuracy:.2%} right",
            xlabel="predicted digit",
            ylabel="true digit",
        )
        axes.tick_params(axis="y", rotation=0)


def feature_maps(
    image: NDArray[np.float32], maps: NDArray[np.float32], title: str, path: Path
) -> None:
    """Draw what one layer makes of one image: the input, then each of its maps.

    Parameters
    ----------
    image : float32 (28, 28)
        What the network is shown.
    maps : float32 (height, width, channels)
        The layer's output for it, from 0; each map is drawn on its own scale.
    title
        Above the picture.
    path
        Where the PNG goes.
    """
    channels = maps.shape[-1]
    columns = 8
    rows = -(-channels // columns)
    with _figure(path, (11, 1.12 * rows + 0.9)) as figure:
        figure.suptitle(title, fontsize=14)
        grid = figure.add_gridspec(rows, columns + 3)
        shown = figure.add_subplot(grid[: min(3, rows), :3])
        shown.imshow(image, cmap="gray")
        shown.set_title("what the network sees", fontsize=11)
        shown.set_axis_off()
        for channel in range(channels):
            axes = figure.add_subplot(grid[channel // columns, 3 + channel % columns])
            axes.imshow(maps[..., channel], cmap="viridis")
            axes.set_title(str(channel), fontsize=7, pad=1.5)
            axes.set_axis_off()


def training_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy by epoch, on the augmented training and the held-out images."""
    epochs = [row["epoch"] for row in history]
    with _figure(path, (10, 4)) as figure:
        for axes, name, label in zip(
            _axes(figure, 2),
            ("loss", "accuracy"),
            ("cross-entropy (nats)", "right (%)"),
            strict=True,
        ):
            scale = 100 if name == "accuracy" else 1
            for prefix, what in (("", "training, augmented"), ("held_out_", "held out")):
                values = [scale * row[prefix + name] for row in history]
                axes.plot(epochs, values, marker="o", markersize=4, label=what)
            axes.set(title=name.capitalize(), xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()


def reliability(groups: Sequence[dict[str, float]], error: float, path: Path) -> None:
    """Draw how often answers of each confidence are right, against the ideal."""
    confidence = [100 * group["confidence"] for group in groups]
    accuracy = [100 * group["accuracy"] for group in groups]
    with _figure(path, (9.5, 4.4)) as figure:
        whole, close = _axes(figure, 2)
        for axes in (whole, close):
            axes.plot([0, 100], [0, 100], linestyle="--", color="grey", label="ideal")
            axes.plot(confidence, accuracy, marker="o", markersize=5, label="test images")
            axes.set(xlabel="confidence (%)", ylabel="right (%)")
            axes.legend(loc="lower right")
        low = min(*confidence, *accuracy)
        whole.set(title=f"Reliability: calibration error {error:.2%}", xlim=(0, 101), ylim=(0, 101))
        close.set(title="The same, close up", xlim=(low - 1, 100.5), ylim=(low - 1, 100.5))


def errors(
    images: NDArray[np.float32],
    truths: NDArray[np.uint8],
    probabilities: NDArray[np.float64],
    path: Path,
) -> None:
    """Draw the wrong test images, the surest mistake first, each with truth, guess, confidence."""
    guesses, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(guesses != truths)
    wrong = wrong[np.argsort(-confidence[wrong])]
    shown = wrong[:_MOST_ERRORS]
    columns = 10
    rows = max(1, -(-len(shown) // columns))
    with _figure(path, (11, 1.45 * rows + 0.7)) as figure:
        figure.suptitle(
            f"{len(wrong)} of {len(truths):,} test images are wrong"
            + (f"; the {len(shown)} surest" if len(shown) < len(wrong) else ""),
            fontsize=14,
        )
        for place in range(rows * columns):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.set_axis_off()
            if place < len(shown):
                index = shown[place]
                axes.imshow(images[index, ..., 0], cmap="gray")
                caption = f"is {truths[index]}, read {guesses[index]}\n{confidence[index]:.0%} sure"
                axes.set_title(caption, fontsize=8, pad=2)


@contextmanager
def _figure(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    figure = plt.figure(figsize=inches, layout="constrained")
    yield figure
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _axes(figure: Figure, count: int) -> list[Axes]:
    made: Any = figure.subplots(1, count)
    return list(made)
