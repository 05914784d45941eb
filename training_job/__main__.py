"""Train a model and publish its bundle.

    python -m training_job                                     the quick recipe, into bundle/
    python -m training_job --seed 2 --out two                  another seed, another folder
    python -m training_job --publish s3://my-models-bucket     and put it in service there

Every option can also be set in the environment, as a container is told.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from digits.errors import DigitsError
from training_job.errors import TrainingError

# TensorFlow's chatter about the CPU is no news to anyone; it reads these when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def main(
    architecture: Annotated[
        str, typer.Option(envvar="DIGITS_ARCHITECTURE", help="The network: reference.")
    ] = "reference",
    recipe: Annotated[
        str, typer.Option(envvar="DIGITS_RECIPE", help="How to train it: quick.")
    ] = "quick",
    epochs: Annotated[
        int | None, typer.Option(envvar="DIGITS_EPOCHS", help="Instead of the recipe's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(envvar="DIGITS_BATCH_SIZE", help="Instead of the recipe's.")
    ] = None,
    seed: Annotated[
        int, typer.Option(envvar="DIGITS_SEED", help="Of weights, augmentation and order.")
    ] = 1,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_DATA",
            help="mnist.npz by path or s3:// address, or `keras` to download it. Default: the"
            " copy that is here.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(envvar="DIGITS_OUT", help="Folder for the bundle; it is replaced.")
    ] = Path("bundle"),
    publish: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_MODELS",
            metavar="STORE",
            help="Put the bundle in service there: a folder or s3://bucket[/prefix].",
        ),
    ] = None,
) -> None:
    """Train, evaluate and export the network, and publish it where asked.

    Exits with 2 and one line if it cannot be done as asked; nothing is left half-written then.
    """
    given = {} if data is None else {"data": data}
    try:
        from training_job.progress import Progress  # noqa: PLC0415 - so that --help is quick
        from training_job.train import Job, train  # noqa: PLC0415

        job = Job(architecture, recipe, epochs, batch_size, seed, out=out, publish=publish, **given)
        train(job, Progress())
    except (TrainingError, DigitsError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        sys.exit(2)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()
