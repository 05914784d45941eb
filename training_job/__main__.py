"""Train a model, write its bundle, and publish it if asked.

    python -m training_job                                     the quick recipe, into bundle/
    python -m training_job --architecture deep --recipe release       the best recipe; resumable
    python -m training_job --seed 2 --out two                  another seed, another folder
    python -m training_job --publish s3://my-models-bucket     upload and promote the bundle

Every option can also be set by an environment variable, which containers use.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from digits.errors import DigitsError
from digits.quiet import nothing_on_stderr
from training_job.errors import NotPromoted, TrainingError

# TensorFlow reads these when it is imported; without the first it logs about the CPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def main(
    architecture: Annotated[
        str,
        typer.Option(
            envvar="DIGITS_ARCHITECTURE",
            help="The network: reference (the textbook CNN) or deep (smaller and more accurate).",
        ),
    ] = "reference",
    recipe: Annotated[
        str,
        typer.Option(
            envvar="DIGITS_RECIPE",
            help="The hyperparameters: quick (about a minute) or release (best accuracy).",
        ),
    ] = "quick",
    epochs: Annotated[
        int | None,
        typer.Option(
            envvar="DIGITS_EPOCHS",
            help="Passes over the training data. Default: that of the recipe.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            envvar="DIGITS_BATCH_SIZE", help="Images per step. Default: that of the recipe."
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            envvar="DIGITS_PRECISION",
            help="Arithmetic of training: float32, or bfloat16, which is faster on processors with"
            " AMX.",
        ),
    ] = "float32",
    seed: Annotated[
        int,
        typer.Option(
            envvar="DIGITS_SEED",
            help="Seed of the initial weights, the augmentation and the order of the images.",
        ),
    ] = 1,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_DATA",
            help="Path or s3:// address of mnist.npz, or `keras` to download it. Default: the copy"
            " in training_job/data.",
        ),
    ] = None,
    extra_data: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_EXTRA_DATA",
            help="Additional training images: a folder or s3:// prefix with a labels.csv of the"
            " columns file and truth. Rows whose truth is not one digit are left out.",
        ),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(
            envvar="DIGITS_SEGMENTER",
            metavar="FOLDER",
            help="Folder with the segmentation network for the bundle: a bundle, or the output of"
            " `python -m training_job.segmenter`. Default: the shipped bundle.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            envvar="DIGITS_OUT",
            resolve_path=True,
            help="Folder to write the bundle to. An existing bundle is replaced.",
        ),
    ] = Path("bundle"),
    publish: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_MODELS",
            metavar="STORE",
            help="Model registry to upload the bundle to: a folder or s3://bucket[/prefix].",
        ),
    ] = None,
    promote: Annotated[
        bool,
        typer.Option(
            envvar="DIGITS_PROMOTE",
            help="Promote the uploaded model if it passes the promotion gate.",
        ),
    ] = True,
    run: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_RUN",
            help="Name of this run. The registry records which model the run made, and keeps the"
            " run's checkpoint, so that another machine can resume it.",
        ),
    ] = None,
) -> None:
    """Train, evaluate and export the digit network; upload and promote the bundle if asked.

    An interrupted run resumes after its last complete epoch when it is started again with the same
    settings. Exit status: 2 if the run is not possible, 1 if the promotion gate refuses the model.
    An incomplete bundle is never left behind.
    """
    given: dict[str, Any] = {} if data is None else {"data": data}
    if segmenter is not None:
        given["segmenter"] = segmenter
    try:
        for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(sign, _stop)
        # TensorFlow's libraries log while they are loaded, at any TF_CPP_MIN_LOG_LEVEL.
        with nothing_on_stderr():
            from training_job.progress import RunProgress  # noqa: PLC0415 - keeps --help fast
            from training_job.train import Job, train  # noqa: PLC0415

        job = Job(
            architecture, recipe, epochs, batch_size, precision, seed,
            extra_data=extra_data, out=out, publish=publish, promote=promote, run=run, **given,
        )  # fmt: skip
        train(job, RunProgress())
    except (TrainingError, DigitsError) as error:
        _fail(str(error), 1 if isinstance(error, NotPromoted) else 2)
    except _Stopped as stopped:
        _fail(
            "Stopped. Run the same command again to resume after the last complete epoch.",
            128 + stopped.signal,
        )


class _Stopped(BaseException):
    """A signal asked the process to end. Not an Exception, so that no library handles it."""

    def __init__(self, number: int) -> None:
        self.signal = number


def _stop(number: int, _: object) -> NoReturn:
    # A second signal must not interrupt the clean-up.
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sign, signal.SIG_IGN)
    raise _Stopped(number)


def _fail(line: str, code: int) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"Failed: {line}", style="red", markup=False)
    sys.exit(code)


# Without markup, brackets in help texts are literal and an error's message is its last line.
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(main)

if __name__ == "__main__":
    app()
