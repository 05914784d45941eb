"""How good a model is on pictures from outside MNIST: painted photos, and UCI's 8x8 digits.

    python -m benchmarks.pictures                     the model that ships with the code
    python -m benchmarks.pictures bundle --count 300  another one, on fewer photos

The photos are painted from the 5,000 digits that are held out of training. A picture in which no
digit was found counts as wrong; calibration is that of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from digits import Classifier, bundle
from training_job import data, evaluate, outside
from training_job.data import Split
from training_job.outside import LEVELS, UCI, Outside


def main(
    folder: Annotated[Path, typer.Argument(help="A bundle.")] = bundle.SHIPPED,
    count: Annotated[int, typer.Option(help="Photos of each level, at most 5,000.")] = 1_000,
) -> None:
    """Read every picture and print the table."""
    console = Console(soft_wrap=True, highlight=False)
    classifier = Classifier(bundle.load(folder))
    with console.status(f"painting and reading {3 * count:,} photos"):
        sets = outside.sets(data.load(str(data.BUNDLED)), count)
    sets = {**sets, "photos, all": _together(sets[f"photos {level}"] for level in LEVELS)}
    table = Table(title=f"Model {classifier.manifest.version}", title_justify="left")
    for name in ("", "pictures", "right", "calibration error", "accepted", "of these right"):
        table.add_column(name, justify="right" if name else "left")
    for name in (*(f"photos {level}" for level in LEVELS), "photos, all", UCI):
        table.add_row(name, *_figures(classifier, sets[name]))
    console.print(table)
    console.print(machine.in_words(machine.described()))


def _figures(classifier: Classifier, pictures: Outside) -> tuple[str, ...]:
    probabilities = classifier.probabilities(pictures.split.x[..., 0])
    threshold = classifier.manifest.decision.threshold
    report = evaluate.report(probabilities, pictures.split.y, threshold)
    found = report["images"] / pictures.pictures
    return (
        f"{pictures.pictures:,}",
        f"{report['accuracy'] * found:.2%}",
        f"{report['expected_calibration_error']:.2%}",
        f"{report['accepted'] * found:.2%}",
        f"{report['accuracy_of_accepted'] or 0:.2%}",
    )


def _together(sets: Iterable[Outside]) -> Outside:
    several = list(sets)
    split = Split(
        np.concatenate([one.split.x for one in several]),
        np.concatenate([one.split.y for one in several]),
    )
    return Outside(split, sum(one.pictures for one in several), "")


if __name__ == "__main__":
    typer.run(main)
