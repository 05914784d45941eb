"""Train the segmentation network of the page reader in development on synthetic pages.

    python -m training_job.tile_segmenter --out tile-segmenter

An interrupted run resumes from its last checkpoint when it is started again with the same settings
and sources; with other ones it starts anew. `--start-from segmenter.keras` begins with the weights
of a trained network. This network is not in service.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from digits.quiet import nothing_on_stderr
from digits.registry import bundle
from digits.registry.object_store import FolderStore
from training_job import data, fingerprint, glyphs
from training_job.checkpoint import Checkpoint
from training_job.progress import RunProgress
from training_job.tile_segmenter.targets import rendered

_BATCH = 16  # scenes per step, as in `training_job.tile_segmenter.fit`, which imports TensorFlow


def main(
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Folder for the network, its checkpoint and the scenes."
        ),
    ],
    count: Annotated[int, typer.Option(min=_BATCH, help="Number of scenes to render.")] = 20_000,
    steps: Annotated[
        int, typer.Option(min=1, help="Number of training steps, of 16 scenes each.")
    ] = 5_000,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of the weights, the order of scenes and the augmentation."),
    ] = 1,
    precision: Annotated[
        Literal["float32", "bfloat16"],  # `Precision`, whose module imports TensorFlow
        typer.Option(
            help="Precision of the arithmetic; bfloat16 is faster on processors with AMX only."
        ),
    ] = "float32",
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="File segmenter.keras with the initial weights. Default: random weights.",
        ),
    ] = None,
) -> None:
    """Render scenes, train on them, and write segmenter.tflite and segmenter.keras to FOLDER."""
    if out.resolve().is_relative_to(bundle.SHIPPED.resolve()):
        raise typer.BadParameter(
            f"{out} is in the bundle that ships, which does not use this network; choose another"
            " folder.",
            param_hint="--out",
        )
    progress = RunProgress()
    scenes = fingerprint.of(
        "training_job.tile_segmenter.targets",
        count,
        files=(glyphs.DRAWINGS, data.BUNDLED),
        libraries=("numpy", "pillow"),
    )
    shown = rendered(count, out, scenes, progress)

    # TensorFlow is imported only after the scenes are rendered; it logs during its import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with nothing_on_stderr():
        import keras  # noqa: PLC0415
        import tensorflow as tf  # noqa: PLC0415

        from training_job import segmenter  # noqa: PLC0415
        from training_job.tile_segmenter.fit import fit  # noqa: PLC0415
        from training_job.tile_segmenter.network import network  # noqa: PLC0415

    weights = fingerprint.of(
        "training_job.tile_segmenter.fit",
        scenes,
        steps,
        seed,
        precision,
        tf.__version__,
        files=(start_from,) if start_from else (),
        libraries=("numpy", "keras"),
    )
    start = keras.models.load_model(start_from, compile=False).get_weights() if start_from else None
    checkpoint = Checkpoint(FolderStore(out / "checkpoint"), "state.npz", weights)
    averaged = fit(shown, steps, seed, progress, checkpoint, start, precision)
    served = network(training=False)
    served.set_weights(averaged)
    served.save(out / "segmenter.keras")
    (out / bundle.SEGMENTER).write_bytes(segmenter.litert(served))
    progress.say(f"wrote the segmentation network to {out}")


if __name__ == "__main__":
    typer.run(main)
