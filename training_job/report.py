"""One page that holds a run's figures and pictures together: `report.html` in the bundle.

Plain HTML that needs no script and nothing from elsewhere; the pictures lie beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from digits.config import RecognitionConfig
from digits.registry.bundle import Decision, Training

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
    ("training_curves", "Loss and accuracy by epoch; training images are changed each time."),
    ("confusion_matrix", "Each row is a true digit, each column what was read."),
    ("precision_and_recall", "Precision: of what was read as a digit, how much is. Recall: of what"
                             " is that digit, how much was read so."),
    ("errors", "Every test image that is read wrongly, the surest mistake first."),
    ("reliability", "How often answers are right, by how sure they are: MNIST's test images."),
    ("reliability_photos", "The same on synthetic photos, which no training saw."),
    ("filters", "What the first convolution looks for."),
    ("feature_maps_layer1", "What the first convolution makes of some digits."),
    ("feature_maps_layer2", "What the second convolution makes of them."),
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
    """Write ``report.html`` to the bundle in `folder`; its pictures are there already."""
    test = report["test"]
    body = [
        f"<h1>{escape(architecture)}, {escape(recipe)} recipe: {test['accuracy']:.2%}"
        " of the test digits right</h1>",
        f"<p>Seed {training.seed}, {training.epochs} epochs, {training.parameters:,} parameters. "
        "5,000 training images were held out for every choice: temperature, threshold, recipe. The"
        " 10,000 test images were looked at once, at the end.</p>",
        "<h2>How good it is</h2>",
        _table(
            ("set", "pictures", "right", "neg. log-likelihood (nats)", "calibration error",
             "accepted", "right of these"),
            (_set_row(name, row) for name, row in _sets(report)),
        ),
        "<p>Calibration error: expected calibration error over 15 bins of equal mass. Accepted: at"
        f" least {decision.threshold:.1%} sure, after temperature {decision.temperature:.3f}, and"
        f" at least {decision.review_threshold(config):.1%} sure that it is a digit at all."
        " A picture in which no digit is found counts as not right.</p>",
        "<h2>What is no digit</h2>",
        _table(
            ("kind", "drawings", "not accepted"),
            ((kind, f"{row['frames']:,}", f"{row['refused']:.1%}")
             for kind, row in report["outliers"].items()),
        ),
        "<h2>Segmentation</h2>",
        _table(
            ("rendered pages", "what", "on the pages", "precision", "recall", "F1"),
            _segmentation_rows(report["segmentation"]),
        ),
        "<p>The pages hold digits and typefaces that training does not use. Ink: pixel by pixel,"
        " the mean over pages. Glyphs: an instance counts as a glyph if their intersection is more"
        " than half of their union; letters and scribbles are glyphs, too.</p>",
        "<h2>Digit by digit</h2>",
        _table(
            ("digit", "test images", "precision", "recall", "F1"),
            (
                (str(row["digit"]), f"{row['images']:,}",
                 *(f"{row[name]:.2%}" for name in ("precision", "recall", "f1")))
                for row in test["digits"]
            ),
        ),
        "<h2>How it is built</h2>",
        _table(
            ("layer", "kind", "gives", "parameters"),
            (
                (row["name"], row["kind"], " × ".join(map(str, row["output"])),
                 f"{row['parameters']:,}")
                for row in report["layers"]
            ),
        ),
        "<h2>Pictures</h2>",
        *(
            f'<figure><img src="images/{name}.png" alt="{escape(text)}">'
            f"<figcaption>{escape(text)}</figcaption></figure>"
            for name, text in PICTURES
            if (folder / f"images/{name}.png").exists()
        ),
        "<h2>What went in</h2>",
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
