"""Draw the plots of a bundle, in perceptually uniform or colour-blind-safe colours."""

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

_MOST_ERRORS = 200  # images; more than a working network gets wrong, bounds the plot's size


def confusion_matrix(counts: Sequence[Sequence[int]], accuracy: float, path: Path) -> None:
    """Draw a confusion matrix, (10, 10), true by predicted digit: counts, and rates per true digit.

    Colours have a logarithmic scale, so that the few errors stand out.
    """
    matrix = np.array(counts)
    rates = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    panels = (
        (matrix, "d", 1, "images", f"Confusion matrix: {matrix.sum():,} test images"),
        (
            rates,
            ".2f",
            0.05,
            "share of the true digit (%)",
            f"The same as rates: accuracy {accuracy:.2%}",
        ),
    )
    with _figure(path, (15, 7)) as figure:
        for axes, (values, form, least, label, title) in zip(_axes(figure, 2), panels, strict=True):
            sns.heatmap(
                values,
                annot=True,
                fmt=form,
                cmap="crest",
                norm=LogNorm(least, values.max()),
                mask=values == 0,
                square=True,
                linewidths=0.5,
                annot_kws={"size": 9},
                cbar_kws={"label": f"{label}, log scale", "shrink": 0.75},
                ax=axes,
            )
            axes.set(title=title, xlabel="predicted digit", ylabel="true digit")
            axes.tick_params(axis="y", rotation=0)


def feature_maps(
    images: NDArray[np.float32], maps: NDArray[np.float32], title: str, path: Path
) -> None:
    """Draw the feature maps of one layer for some images, beside each image.

    Parameters
    ----------
    images : float32 (n, 28, 28)
        Inputs of the network.
    maps : float32 (n, height, width, channels)
        The layer's output; each map has a colour scale of its own, dark at zero.
    title
        Title of the plot.
    path
        The PNG file to write.
    """
    columns = 16
    rows = -(-maps.shape[-1] // columns)
    with _figure(path, (12, len(images) * (0.56 * rows + 0.28) + 0.5)) as figure:
        figure.suptitle(title, fontsize=13)
        grid = figure.add_gridspec(len(images), 2, width_ratios=(min(rows, 4), columns))
        for row, (image, own) in enumerate(zip(images, maps, strict=True)):
            shown, answers = (figure.add_subplot(grid[row, column]) for column in (0, 1))
            shown.imshow(image, cmap="gray")
            scaled = own / np.maximum(own.max(axis=(0, 1)), 1e-6)
            answers.imshow(_mosaic(scaled, columns), cmap="viridis", interpolation="nearest")
            for axes in (shown, answers):
                axes.set_axis_off()


def filters(kernels: NDArray[np.float32], path: Path) -> None:
    """Draw the first layer's filters, float32 (height, width, count): orange > 0, purple < 0."""
    height, width, count = kernels.shape
    columns = 8
    limit = float(np.abs(kernels).max())
    with _figure(path, (7, 0.8 * -(-count // columns) + 1)) as figure:
        axes = figure.add_subplot()
        shown = axes.imshow(_mosaic(kernels, columns), cmap="PuOr_r", vmin=-limit, vmax=limit)
        axes.set_title(f"First layer: {count} filters of {height}×{width}")
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, label="weight", shrink=0.8)


def _mosaic(tiles: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Arrange tiles, (height, width, count), in rows of `columns`, with NaN between and after."""
    height, width, count = tiles.shape
    whole = -(-count // columns) * columns
    spaced = np.full((whole, height + 1, width + 1), np.nan, np.float32)
    spaced[:count, :height, :width] = np.moveaxis(tiles, -1, 0)
    rows = spaced.reshape(-1, columns, height + 1, width + 1).swapaxes(1, 2)
    return np.asarray(rows.reshape(-1, columns * (width + 1))[:-1, :-1])


def training_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy per epoch, for the augmented training and the held-out images."""
    epochs = [row["epoch"] for row in history]
    with _figure(path, (10, 4)) as figure:
        for axes, name, label in zip(
            _axes(figure, 2),
            ("loss", "accuracy"),
            ("cross-entropy (nats)", "accuracy (%)"),
            strict=True,
        ):
            scale = 100 if name == "accuracy" else 1
            for prefix, what in (("", "training, augmented"), ("held_out_", "held out")):
                values = [scale * row[prefix + name] for row in history]
                axes.plot(epochs, values, marker="o", markersize=4, label=what)
            axes.set(title=name.capitalize(), xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()


def reliability(groups: Sequence[dict[str, float]], title: str, path: Path) -> None:
    """Draw a reliability diagram: accuracy by confidence, whole and close up."""
    confidence = [100 * group["confidence"] for group in groups]
    accuracy = [100 * group["accuracy"] for group in groups]
    with _figure(path, (9.5, 4.4)) as figure:
        whole, close = _axes(figure, 2)
        for axes in (whole, close):
            axes.plot([0, 100], [0, 100], linestyle="--", color="grey", label="ideal")
            axes.plot(confidence, accuracy, marker="o", markersize=5, label="groups of equal size")
            axes.set(xlabel="confidence (%)", ylabel="accuracy (%)")
            axes.legend(loc="lower right")
        low = min(*confidence, *accuracy)
        whole.set(title=title, xlim=(0, 101), ylim=(0, 101))
        close.set(title="The same, close up", xlim=(low - 1, 100.5), ylim=(low - 1, 100.5))


def precision_and_recall(digits: Sequence[dict[str, float]], path: Path) -> None:
    """Draw each digit's precision and recall, in per cent."""
    names = [str(row["digit"]) for row in digits]
    with _figure(path, (9.5, 3.8)) as figure:
        axes = figure.add_subplot()
        for name, marker in (("precision", "o"), ("recall", "D")):
            values = [100 * row[name] for row in digits]
            axes.plot(names, values, linestyle="", marker=marker, markersize=8, label=name)
        axes.set(
            title="Precision and recall by digit",
            xlabel="digit",
            ylabel="%",
        )
        axes.legend(loc="lower left")


def errors(
    images: NDArray[np.float32],
    truths: NDArray[np.uint8],
    probabilities: NDArray[np.float64],
    path: Path,
) -> None:
    """Draw the misclassified test images with label, prediction and confidence, by confidence."""
    guesses, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(guesses != truths)
    wrong = wrong[np.argsort(-confidence[wrong])]
    shown = wrong[:_MOST_ERRORS]
    columns = 10
    rows = max(1, -(-len(shown) // columns))
    with _figure(path, (11, 1.45 * rows + 0.7)) as figure:
        figure.suptitle(
            f"{len(wrong)} of {len(truths):,} test images are misclassified"
            + (f"; the {len(shown)} most confident" if len(shown) < len(wrong) else ""),
            fontsize=14,
        )
        for place in range(rows * columns):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.set_axis_off()
            if place < len(shown):
                index = shown[place]
                axes.imshow(images[index, ..., 0], cmap="gray")
                caption = (
                    f"true {truths[index]}, predicted {guesses[index]}\n{confidence[index]:.0%}"
                )
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
