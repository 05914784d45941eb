"""The second page: what the model is, how good it is and where it ends, from its bundle."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from digits import bundle
from digits.bundle import Manifest
from digits.errors import ModelUnavailable
from streamlit_app import engine, shipped

KINDS = {
    "Conv2D": ("Convolution", "looks for small patterns, everywhere"),
    "MaxPooling2D": ("Pooling", "keeps the largest of each 2 × 2"),
    "BatchNormalization": ("Normalisation", "brings every map to one scale"),
    "ReLU": ("ReLU", "keeps what is positive"),
    "Flatten": ("Flatten", "makes one list of numbers"),
    "GlobalAveragePooling2D": ("Average", "one number a map"),
    "Dense": ("Dense", "weighs everything against everything"),
    "Dropout": ("Dropout", "silences some neurons, in training only"),
    "Softmax": ("Softmax", "turns ten scores into ten probabilities"),
}
PLOTS = (
    (
        "confusion_matrix",
        "Confusion matrix",
        "Each row is a digit, each column what was read.",
    ),
    ("reliability", "Confidence and truth", "How often it is right, by how sure it is."),
    ("precision_and_recall", "Digit by digit", "Which digits it mistakes, and which it misses."),
    ("filters", "The first filters", "What the first layer looks for in each corner of a picture."),
    (
        "feature_maps_layer1",
        "What the first layer sees",
        "Filters that answer to edges and strokes.",
    ),
    (
        "feature_maps_layer2",
        "What the second layer sees",
        "Filters that answer to bends and corners.",
    ),
    ("errors", "Where it errs", "Test digits that it reads wrongly."),
    ("training_curves", "Training", "Loss and accuracy, pass by pass over the training digits."),
)
LIMITS = """
- It knows the digits 0 to 9 and nothing else. A letter may be read as the digit it resembles.
- It learnt from American census workers and students of the 1990s: a crossed 7 or a 1 with a long
  upstroke is rarer there than in Europe.
- It reads dark strokes on something light, or light on dark. Busy backgrounds, touching digits and
  strong shadows are hard.
- Its accuracy is measured on clean scans. Expect less of a hasty photo, and mind its doubts.
"""


def show() -> None:
    """Draw the page."""
    st.title("The model", anchor=False)
    try:
        manifest = engine.classifier().manifest
    except ModelUnavailable as error:
        st.error(f"There is no model to show. {error}", icon=":material/error:")
        return
    st.html(
        '<p class="lead">A convolutional neural network, trained on MNIST: 60,000 digits written by'
        " 250 people, tested on 10,000 by others.</p>"
    )
    st.html(_figures(manifest))
    if layers := shipped.report().get("layers"):
        st.subheader("How it is built", anchor=False)
        st.html(_layers(layers))
    st.subheader("What it learnt", anchor=False)
    st.html(_plots())
    st.subheader("Its limits", anchor=False)
    st.markdown(LIMITS)
    st.caption(
        f"Version {manifest.version}, recipe “{manifest.recipe}”, {manifest.training.epochs} passes"
        f" over the data, created {manifest.created[:10]}."
    )


def _figures(manifest: Manifest) -> str:
    """The headline figures as tiles."""
    metrics = manifest.metrics
    size = manifest.files[bundle.TFLITE].bytes / 1e6
    figures = {
        "of the test digits read right": f"{metrics.test_accuracy:.2%}",
        "between confidence and truth, on average": f"{metrics.expected_calibration_error:.1%}",
        "sure, or it asks for a second look": f"{manifest.decision.threshold:.0%}",
        "to download; no graphics card needed": f"{size:.1f} MB",
    }
    tiles = "".join(
        f"<div><b>{value}</b><span>{what}</span></div>" for what, value in figures.items()
    )
    return f'<div class="figures">{tiles}</div>'


def _layers(layers: list[dict[str, Any]]) -> str:
    """The architecture as a table."""
    rows = "".join(_layer(layer) for layer in layers)
    total = sum(layer["parameters"] for layer in layers)
    return (
        '<table class="layers"><thead><tr><th>Layer</th><th>What it does</th><th>Gives</th>'
        f'<th class="number">Parameters</th></tr></thead><tbody>{rows}</tbody><tfoot><tr>'
        f'<th colspan="3">Together</th><th class="number">{total:,}</th></tr></tfoot></table>'
    )


def _layer(layer: dict[str, Any]) -> str:
    name, what = KINDS.get(layer["kind"], (layer["kind"], ""))
    gives = " × ".join(f"{size:,}" for size in layer["output"])
    parameters = f"{layer['parameters']:,}" if layer["parameters"] else "–"
    return (
        f"<tr><td>{escape(name)}</td><td>{what}</td><td>{gives}</td>"
        f'<td class="number">{parameters}</td></tr>'
    )


def _plots() -> str:
    """The bundle's pictures; one that is missing is left out."""
    figures = "".join(
        f'<figure><img src="{uri}" alt="{title}. {text}">'
        f"<figcaption><b>{title}.</b> {text}</figcaption></figure>"
        for name, title, text in PLOTS
        if (uri := shipped.data_uri(name))
    )
    return f'<div class="plots">{figures}</div>'


show()
