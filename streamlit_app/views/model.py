"""The second page: what the model is, how good it is and where it ends, from its bundle."""

from __future__ import annotations

import base64

import streamlit as st

from digits import bundle
from digits.bundle import Manifest
from digits.errors import ModelUnavailable
from streamlit_app import engine

LAYERS = (
    ("Picture", "28 × 28, white on black", "28 × 28 × 1", 0),
    ("Convolution", "32 filters of 3 × 3, ReLU", "26 × 26 × 32", 320),
    ("Pooling", "the largest of each 2 × 2", "13 × 13 × 32", 0),
    ("Convolution", "64 filters of 3 × 3, ReLU", "11 × 11 × 64", 18_496),
    ("Pooling", "the largest of each 2 × 2", "5 × 5 × 64", 0),
    ("Flatten", "a list of numbers", "1,600", 0),
    ("Dense", "128 neurons, ReLU; half of them drop out in training", "128", 204_928),
    ("Dense", "one score a digit, softmax", "10", 1_290),
)
PLOTS = (
    (
        "confusion_matrix",
        "Confusion matrix",
        "Each row is a digit, each column what was read.",
    ),
    ("reliability", "Confidence and truth", "How often it is right, by how sure it is."),
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
    if manifest.architecture == "reference":
        st.subheader("How it is built", anchor=False)
        st.html(_layers())
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


def _layers() -> str:
    """The architecture as a table."""
    rows = "".join(
        f'<tr><td>{name}</td><td>{what}</td><td>{shape}</td><td class="number">'
        f"{f'{parameters:,}' if parameters else '–'}</td></tr>"
        for name, what, shape, parameters in LAYERS
    )
    total = sum(parameters for *_, parameters in LAYERS)
    return (
        '<table class="layers"><thead><tr><th>Layer</th><th>What it does</th><th>Gives</th>'
        f'<th class="number">Parameters</th></tr></thead><tbody>{rows}</tbody><tfoot><tr>'
        f'<th colspan="3">Together</th><th class="number">{total:,}</th></tr></tfoot></table>'
    )


def _plots() -> str:
    """The bundle's pictures; one that is missing is left out."""
    figures = "".join(
        f'<figure><img src="{uri}" alt="{title}. {text}">'
        f"<figcaption><b>{title}.</b> {text}</figcaption></figure>"
        for name, title, text in PLOTS
        if (uri := _data_uri(name))
    )
    return f'<div class="plots">{figures}</div>'


@st.cache_data
def _data_uri(name: str) -> str:
    """A picture of the bundle as a ``data:`` URI; nothing where it has none."""
    try:
        data = bundle.in_folder(bundle.SHIPPED)(f"images/{name}.png")
    except ModelUnavailable:
        return ""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


show()
