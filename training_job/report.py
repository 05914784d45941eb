"""Write `report.html` of a bundle: one page with the figures and plots of a run.

Plain HTML without scripts or external resources; the plots are files beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from digits.config import Decision, RecognitionConfig
from digits.registry.bundle import Training

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; background: #fff; border: 1px solid #8884; }
figcaption { opacity: .8; }
"""

PICTURES = (
    ("training_curves", "Loss and accuracy per epoch; training images are augmented."),
    ("confusion_matrix", "Confusion matrix: rows are true digits, columns are predicted digits."),
    ("precision_and_recall", "Precision and recall of each digit."),
    ("errors", "All misclassified test images, the most confident error first."),
    ("reliability", "Reliability diagram, MNIST's test images: accuracy by confidence."),
    ("reliability_photos", "Reliability diagram, synthetic photos of held-out digits."),
    ("filters", "Filters of the first convolution."),
    ("feature_maps_layer1", "Feature maps of the first convolution."),
    ("feature_maps_layer2", "Feature maps of the second convolution."),
)  # fmt: skip


def write(
    report: dict[str, Any],
    architecture: str,
    recipe: str,
    training: Training,
    decision: Decision,
    config: RecognitionConfig,
    folder: Path,
) -> None:
    """Write ``report.html`` to the bundle in `folder`, which must hold the plots already.

    Parameters
    ----------
    report
        The figures, as in `report.json`.
    architecture, recipe, training, decision, config
        As in the bundle's manifest and configuration.
    folder
        The bundle's folder.
    """
    test = report["test"]
    body = [
        f"<h1>{escape(architecture)}, {escape(recipe)} recipe: {test['accuracy']:.2%}"
        " accuracy on the test images</h1>",
        f"<p>Seed {training.seed}, {training.epochs} epochs, {training.parameters:,} parameters. "
        "5,000 training images were held out for all choices: temperature, thresholds and recipe."
        " The 10,000 test images were used once, at the end.</p>",
        "<h2>Accuracy and calibration</h2>",
        _table(
            ("set", "images", "accuracy", "neg. log-likelihood (nats)", "calibration error",
             "accepted", "selective accuracy"),
            (_set_row(name, row) for name, row in _sets(report)),
        ),
        "<p>Calibration error: expected calibration error over 15 bins of equal mass. Accepted:"
        f" the confidence is at least {decision.threshold:.1%}, calibrated with temperature"
        f" {decision.temperature:.3f}, and the probability of a digit is at least"
        f" {decision.review_threshold(config):.1%}. Selective accuracy: accuracy of the accepted"
        " answers."
        " An image in which no digit is found counts as an error.</p>",
        "<h2>Rejection of negatives</h2>",
        _table(
            ("kind", "negatives", "rejected"),
            ((kind, f"{row['frames']:,}", f"{row['refused']:.1%}")
             for kind, row in report["outliers"].items()),
        ),
        "<h2>Segmentation</h2>",
        _table(
            ("rendered pages", "metric of", "on the pages", "precision", "recall", "F1"),
            _segmentation_rows(report["segmentation"]),
        ),
        "<p>The pages hold digits and typefaces that are held out of training. Ink: per pixel, mean"
        " over pages. Glyphs: an instance matches a glyph if their intersection over union is more"
        " than one half; letters and scribbles are glyphs, too.</p>",
        "<h2>Precision and recall by digit</h2>",
        _table(
            ("digit", "test images", "precision", "recall", "F1"),
            (
                (str(row["digit"]), f"{row['images']:,}",
                 *(f"{row[name]:.2%}" for name in ("precision", "recall", "f1")))
                for row in test["digits"]
            ),
        ),
        "<h2>Architecture</h2>",
        _table(
            ("layer", "kind", "output", "parameters"),
            (
                (row["name"], row["kind"], " × ".join(map(str, row["output"])),
                 f"{row['parameters']:,}")
                for row in report["layers"]
            ),
        ),
        "<h2>Plots</h2>",
        *(
            f'<figure><img src="images/{name}.png" alt="{escape(text)}">'
            f"<figcaption>{escape(text)}</figcaption></figure>"
            for name, text in PICTURES
            if (folder / f"images/{name}.png").exists()
        ),
        "<h2>Settings and versions</h2>",
        _table(("setting", "value"), _settings(training)),
    ]  # fmt: skip
    (folder / "report.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Digit recogniser: training report</title><style>{_STYLE}</style>"
        + "\n".join(body)
        + "</html>\n",
        encoding="utf-8",
    )


def _sets(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("MNIST, test", report["test"]),
        ("MNIST, held out", report["held_out"]),
        *report["outside"].items(),
    ]


def _set_row(name: str, row: dict[str, Any]) -> Sequence[str]:
    accepted = row["accuracy_of_accepted"]
    return (
        name,
        f"{row['images']:,}",
        f"{row['accuracy']:.2%}",
        f"{row['negative_log_likelihood']:.4f}",
        f"{row['expected_calibration_error']:.2%}",
        f"{row['accepted']:.2%}",
        "–" if accepted is None else f"{accepted:.2%}",
    )


def _segmentation_rows(figures: dict[str, Any]) -> Iterable[Sequence[str]]:
    pages, ink, instances = figures["pages"], figures["ink"], figures["instances"]
    for what, count, scores in (("ink", "–", ink), ("glyphs", figures["glyphs"], instances)):
        shares = (f"{scores[name]:.2%}" for name in ("precision", "recall", "f1"))
        yield f"{pages:,}", what, f"{count:,}" if isinstance(count, int) else count, *shares


def _settings(training: Training) -> Iterable[Sequence[str]]:
    for name, value in (training.settings | training.versions).items():
        parts = value if isinstance(value, dict) else {"": value}
        for part, setting in parts.items():
            yield f"{name} {part}".strip().replace("_", " "), str(setting)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
