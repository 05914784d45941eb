"""Assemble a bundle from the classifier of one bundle and a segmentation network.

    python -m training_job.assemble --segmenter segmenter --out bundle    the shipped classifier
    python -m training_job.assemble --classifier old --out bundle         the shipped segmenter

The classifier, its calibration and thresholds, and the plots of its training are copied unchanged.
All figures that depend on both networks or on the configuration are measured again with the LiteRT
networks. The new bundle has schema 2 and a new version, for a classifier of any schema.
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

from digits.config import PREPROCESSING, RecognitionConfig
from digits.errors import DigitsError
from digits.finder import Segmenter
from digits.quiet import nothing_on_stderr
from digits.recognition.classification import ClassifyFrames, FrameClassifier, Network
from digits.registry import bundle
from digits.registry.bundle import CONFIG, REPORT, SEGMENTER, TFLITE, Manifest
from training_job import data, evaluate, report, segmentation
from training_job.data import Split
from training_job.draft import new_folder
from training_job.errors import TrainingError

_BATCH = 1_000  # frames per call of the network: bounds the memory


def assemble(classifier: Path, segmenter: Path, out: Path) -> Manifest:
    """Write the bundle to `out` and return its manifest.

    Parameters
    ----------
    classifier
        Folder of a bundle of any schema.
    segmenter
        Folder of the segmentation network; see `segmentation.files_in`.
    out
        A new folder, or that of a bundle, which is replaced at the end.

    Raises
    ------
    TrainingError
        If `out` cannot be written, or the classifier was trained for another preprocessing.
    ModelUnavailable
        If a file is missing or differs from its manifest.
    """
    # The worker processes import this module, too; they must not load TensorFlow.
    from training_job import export  # noqa: PLC0415

    read_file = bundle.in_folder(classifier)
    original = bundle.verify(read_file)
    if original.input.preprocessing != PREPROCESSING:
        raise TrainingError(
            f"Model {original.version} was trained for preprocessing"
            f" {original.input.preprocessing}, but this code has {PREPROCESSING}; train it again."
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
        figures = json.loads(read_file(REPORT)) | _figures(folder, original, config)
        names = original.architecture, original.recipe
        report.write(figures, *names, original.training, original.decision, config, folder)
        export.save_report(figures, folder)
        return export.save_derived_manifest(folder, original, figures["test"])


def _figures(folder: Path, original: Manifest, config: RecognitionConfig) -> dict[str, Any]:
    """Measure the networks in `folder`; return the figures of the report that depend on both."""
    from training_job.train import recognition_figures  # noqa: PLC0415 - as in `assemble`

    network = Network((folder / TFLITE).read_bytes())
    classify_frames = FrameClassifier(network, original.decision, config)
    segmenter = Segmenter((folder / SEGMENTER).read_bytes(), config.segmentation)
    mnist = data.load(str(data.BUNDLED))
    return {
        "test": _report(classify_frames, mnist.test),
        "held_out": _report(classify_frames, mnist.held_out),
        **recognition_figures(
            mnist, classify_frames, segmenter, original.recipe, folder / "images"
        ),
    }


def _report(classify_frames: ClassifyFrames, split: Split) -> dict[str, Any]:
    """Evaluate the classifier on the frames of a split."""
    frames = split.x[..., 0]
    judged = [
        classify_frames(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)
    ]
    probabilities = np.concatenate([part.probabilities for part in judged])
    accepted = np.concatenate([part.accepted for part in judged])
    return evaluate.report(probabilities, split.y, accepted)


def main(
    classifier: Annotated[
        Path, typer.Option(metavar="BUNDLE", help="Bundle that holds the classifier.")
    ] = bundle.SHIPPED,
    segmenter: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Folder with the segmentation network and its configuration: a bundle, or the"
            " output of `python -m training_job.segmenter`.",
        ),
    ] = bundle.SHIPPED,
    out: Annotated[
        Path,
        typer.Option(
            resolve_path=True,
            help="Folder to write the bundle to. An existing bundle is replaced.",
        ),
    ] = Path("bundle"),
) -> None:
    """Assemble a bundle and measure it, in some minutes. Exits with 2 if it is not possible."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with nothing_on_stderr():  # TensorFlow's libraries log while they are loaded
        import_module("training_job.train")
    try:
        manifest = assemble(classifier, segmenter, out)
    except (TrainingError, DigitsError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        sys.exit(2)
    typer.echo(f"wrote {out}: {manifest.version}, derived from {manifest.derived_from}")


if __name__ == "__main__":
    typer.run(main)
