"""Assemble a bundle from the classifier of one bundle and a segmentation network.

    python -m training_job.assemble --segmenter segmenter --out bundle    the shipped classifier
    python -m training_job.assemble --classifier old --out bundle         the shipped segmenter

The classifier, its decision and the pictures of its training are taken over as they are. Every
figure that depends on the two networks or on the configuration is measured again, on the networks
as they are served. The new bundle has schema 2, whatever the schema of the old one, and a version
of its own.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from digits.classifier import FrameClassifier, Network
from digits.config import PREPROCESSING, RecognitionConfig
from digits.errors import DigitsError
from digits.finder import Segmenter
from digits.quiet import nothing_on_stderr
from digits.reading import ClassifyFrames
from digits.registry import bundle
from digits.registry.bundle import CONFIG, REPORT, SEGMENTER, TFLITE, Manifest
from training_job import data, evaluate, report, segmentation
from training_job.data import Split
from training_job.draft import new_folder
from training_job.errors import TrainingError

_BATCH = 1_000  # frames that run at once: bounds the memory


def assembled(classifier: Path, segmenter: Path, out: Path) -> Manifest:
    """Write the bundle to `out` and give its manifest.

    Parameters
    ----------
    classifier
        A bundle of any schema.
    segmenter
        As for `segmentation.files_in`.
    out
        A new folder, or that of a bundle, which is replaced at the end.

    Raises
    ------
    TrainingError
        If `out` cannot be written, or the classifier was trained for another preprocessing.
    ModelUnavailable
        If a file is missing, or is not the one that its manifest describes.
    """
    # The processes that measure import this module, too, and do without TensorFlow.
    from training_job import export  # noqa: PLC0415

    read_file = bundle.in_folder(classifier)
    original = bundle.verify(read_file)
    if original.input.preprocessing != PREPROCESSING:
        raise TrainingError(
            f"Model {original.version} was trained for preprocessing"
            f" {original.input.preprocessing}, but this software has {PREPROCESSING}; train it"
            " again."
        )
    network_files = segmentation.files_in(segmenter)
    config = bundle.parse_config(network_files[CONFIG])
    own = [name for name in original.files if name not in {SEGMENTER, CONFIG, segmentation.KERAS}]
    with new_folder(out) as folder:
        for name in own:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(read_file(name))
        for name, content in network_files.items():
            (folder / name).write_bytes(content)
        figures = json.loads(read_file(REPORT)) | _measured(folder, original, config)
        names = original.architecture, original.recipe
        report.write(figures, *names, original.training, original.decision, config, folder)
        export.save_report(figures, folder)
        return export.save_derived_manifest(folder, original, figures["test"])


def _measured(folder: Path, original: Manifest, config: RecognitionConfig) -> dict[str, Any]:
    """The figures of the networks in `folder`."""
    from training_job.train import measured  # noqa: PLC0415 - as in `assembled`

    network = Network((folder / TFLITE).read_bytes())
    judge = FrameClassifier(network, original.decision, config)
    segmenter = Segmenter((folder / SEGMENTER).read_bytes(), config.segmentation)
    mnist = data.load(str(data.BUNDLED))
    return {
        "test": _report(judge, mnist.test),
        "held_out": _report(judge, mnist.held_out),
        **measured(mnist, judge, segmenter, original.recipe, folder / "images"),
    }


def _report(judge: ClassifyFrames, split: Split) -> dict[str, Any]:
    frames = split.x[..., 0]
    judged = [judge(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)]
    probabilities = np.concatenate([part.probabilities for part in judged])
    accepted = np.concatenate([part.accepted for part in judged])
    return evaluate.report(probabilities, split.y, accepted)


def main(
    classifier: Annotated[
        Path, typer.Option(metavar="BUNDLE", help="The bundle whose classifier is taken.")
    ] = bundle.SHIPPED,
    segmenter: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="The folder of the segmentation network and its configuration: a bundle's, or what"
            " `python -m training_job.segmenter` wrote.",
        ),
    ] = bundle.SHIPPED,
    out: Annotated[
        Path,
        typer.Option(
            resolve_path=True,
            help="Folder for the bundle; one that is there is replaced, if it is a bundle.",
        ),
    ] = Path("bundle"),
) -> None:
    """Assemble a bundle and measure it: some minutes. Exits with 2 if it cannot be done."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with nothing_on_stderr():  # TensorFlow's libraries log while they are loaded
        import_module("training_job.train")
    try:
        manifest = assembled(classifier, segmenter, out)
    except (TrainingError, DigitsError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        sys.exit(2)
    typer.echo(f"wrote {out}: {manifest.version}, derived from {manifest.derived_from}")


if __name__ == "__main__":
    typer.run(main)
