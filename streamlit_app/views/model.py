"""The third page: the model's architecture, accuracy and limits, from its bundle."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from digits.errors import ModelUnavailable
from digits.registry import bundle
from digits.registry.bundle import Manifest
from streamlit_app import engine, shipped

KINDS = {
    "Conv2D": ("Convolution", "finds small patterns everywhere"),
    "MaxPooling2D": ("Pooling", "keeps the largest of each 2 × 2"),
    "BatchNormalization": ("Normalisation", "scales every map alike"),
    "ReLU": ("ReLU", "sets negative numbers to zero"),
    "Flatten": ("Flatten", "puts all numbers in one list"),
    "GlobalAveragePooling2D": ("Average", "averages each map to one number"),
    "Dense": ("Dense", "weighs every input for each output"),
    "Dropout": ("Dropout", "drops random inputs, in training only"),
    "Softmax": ("Softmax", "turns ten logits into ten probabilities"),
}
PLOTS = (
    (
        "confusion_matrix",
        "Confusion matrix",
        "Each row is a digit, each column what was read.",
    ),
    ("reliability", "Confidence and accuracy", "How often an answer is right, by its confidence."),
    ("reliability_photos", "… on photos", "The same, on photos of digits on paper and slate."),
    ("precision_and_recall", "Digit by digit", "Precision and recall of each digit."),
    ("filters", "The first filters", "The patterns that the first layer responds to."),
    (
        "feature_maps_layer1",
        "First layer",
        "Feature maps that respond to edges and strokes.",
    ),
    (
        "feature_maps_layer2",
        "Second layer",
        "Feature maps that respond to bends and corners.",
    ),
    ("training_curves", "Training", "Loss and accuracy after each epoch."),
    ("errors", "Errors", "Test digits that are read wrongly."),
)
SETS = {
    "photos easy": "Photos, easy",
    "photos medium": "Photos, of medium difficulty",
    "photos hard": "Photos, hard",
    "uci 8x8": "UCI’s digits, 8 × 8 points",
}
OUTLIERS = {
    "signs": "Signs such as + or %",
    "merged": "Two digits in one",
    "stacked": "Two overlapping digits",
    "cut": "Half a digit",
    "mirrored": "A mirrored digit",
    "lying": "A digit on its side",
    "crossed out": "A digit crossed out",
    "textures": "Gravel, stains, leaves",
    "shades": "Shadows and edges",
    "grids": "Printed lines and squares",
    "spots": "Specks and dots",
    "bars": "Dashes",
}
LIMITS = """
- It knows the digits 0 to 9 and nothing else. A letter may be read as the digit it resembles.
- Its training digits are by American census workers and students of the 1990s: a crossed 7 or a 1
  with a long upstroke is rarer there than in Europe.
- It reads dark strokes on something light, or light on dark. Busy backgrounds, touching digits and
  strong shadows are hard.
- The photos that it was measured on are synthetic. Expect a lower accuracy on real photos, and
  check the answers that ask for it.
"""


def show() -> None:
    """Draw the page."""
    st.title("The model", anchor=False)
    try:
        manifest = engine.classifier().manifest
    except ModelUnavailable as error:
        st.error(f"There is no model to show. {error}", icon=":material/error:")
        return
    report = shipped.report()
    st.html(
        f'<p class="lead">A convolutional neural network of {manifest.training.parameters:,}'
        " weights. It learnt from MNIST, 60,000 digits that some 250 people wrote, and is tested on"
        " 10,000 by others.</p>"
    )
    st.html(_figures(manifest))
    if rows := _measured(report):
        st.subheader("How well it reads", anchor=False)
        st.html(rows)
    if refused := _refused(report):
        st.subheader("What it rejects", anchor=False)
        st.html(refused)
    st.subheader("What it learned", anchor=False)
    st.html(_plots())
    if layers := report.get("layers"):
        with st.expander("How it is built, layer by layer", icon=":material/layers:"):
            st.html(_layers(layers))
    with st.expander("How it was trained", icon=":material/model_training:"):
        st.html(_trained(manifest))
    st.subheader("Its limits", anchor=False)
    st.markdown(LIMITS)
    st.caption(f"Version {manifest.version}, created {manifest.created[:10]}.")


def _measured(report: dict[str, Any]) -> str:
    """Render the accuracy on each test set as a table."""
    sets = {"MNIST, test images": report.get("test"), **report.get("outside", {})}
    rows = "".join(
        f"<tr><td>{escape(SETS.get(name, name))}</td>"
        f'<td class="number">{found["images"]:,}</td>'
        f'<td class="number"><b>{found["accuracy"]:.2%}</b></td>'
        f'<td class="number">{found["accepted"]:.1%}</td>'
        f'<td class="number">{found["accuracy_of_accepted"]:.2%}</td>'
        f'<td class="number">{found["expected_calibration_error"]:.1%}</td></tr>'
        for name, found in sets.items()
        if found
    )
    if not rows:
        return ""
    return (
        '<div class="wide"><table class="layers"><thead><tr><th>Pictures</th>'
        '<th class="number">How many</th><th class="number">Read right</th>'
        '<th class="number">Coverage</th><th class="number">Selective accuracy</th>'
        '<th class="number">Calibration error</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _refused(report: dict[str, Any]) -> str:
    """Render the share of rejected negatives of each kind as bars."""
    rows = "".join(
        f"<dt>{escape(OUTLIERS.get(kind, kind.capitalize()))}</dt>"
        f'<dd><i style="width:{100 * found["refused"]:.1f}%"></i></dd>'
        f"<dd>{found['refused']:.1%}</dd>"
        for kind, found in report.get("outliers", {}).items()
    )
    return f'<dl class="refused" aria-label="Share that is rejected">{rows}</dl>' if rows else ""


def _trained(manifest: Manifest) -> str:
    """Render the training recipe of the manifest."""
    training = manifest.training
    facts = {
        "Recipe": f"{manifest.recipe}, architecture {manifest.architecture}",
        "Epochs": f"{training.epochs}, {training.batch_size} digits a step",
        "Seed": str(training.seed),
        "Data": f"{manifest.data.name}, checked by SHA-256",
        "Code": (manifest.git_commit or "unknown")[:12],
        "Preprocessing": f"version {manifest.input.preprocessing}",
        "Confidence": f"logits over a temperature of {manifest.decision.temperature:.3f}",
    }
    rows = "".join(
        f"<tr><td>{name}</td><td>{escape(fact)}</td></tr>" for name, fact in facts.items()
    )
    return f'<table class="layers facts"><tbody>{rows}</tbody></table>'


def _figures(manifest: Manifest) -> str:
    """Render the headline figures as tiles."""
    metrics = manifest.metrics
    size = manifest.files[bundle.TFLITE].bytes / 1e6
    figures = {
        "of the test digits read right": f"{metrics.test_accuracy:.2%}",
        "between confidence and truth, on average": f"{metrics.expected_calibration_error:.1%}",
        "confidence; below it asks you to check": f"{manifest.decision.threshold:.0%}",
        "to download; no graphics card needed": f"{size:.1f} MB",
    }
    tiles = "".join(
        f"<div><b>{value}</b><span>{what}</span></div>" for what, value in figures.items()
    )
    return f'<div class="figures">{tiles}</div>'


def _layers(layers: list[dict[str, Any]]) -> str:
    """Render the architecture as a table."""
    rows = "".join(_layer(layer) for layer in layers)
    total = sum(layer["parameters"] for layer in layers)
    return (
        '<table class="layers"><thead><tr><th>Layer</th><th>What it does</th><th>Output</th>'
        f'<th class="number">Parameters</th></tr></thead><tbody>{rows}</tbody><tfoot><tr>'
        f'<th colspan="3">Total</th><th class="number">{total:,}</th></tr></tfoot></table>'
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
    """Render the bundle's pictures; missing ones are left out."""
    figures = "".join(
        f'<figure class="{name}"><img src="{uri}" alt="{title}. {text}">'
        f"<figcaption><b>{title}.</b> {text}</figcaption></figure>"
        for name, title, text in PLOTS
        if (uri := shipped.data_uri(name))
    )
    return f'<div class="plots">{figures}</div>'


show()
