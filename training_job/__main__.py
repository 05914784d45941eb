"""Train a model and publish its bundle.

    python -m training_job                                     the quick recipe, into bundle/
    python -m training_job --architecture deep --recipe release       the best there is; resumable
    python -m training_job --seed 2 --out two                  another seed, another folder
    python -m training_job --publish s3://my-models-bucket     and put it in service there

Every option can also be set in the environment, as a container is told.
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

# TensorFlow's chatter about the CPU is no news to anyone; it reads these when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def main(
    architecture: Annotated[
        str,
        typer.Option(
            envvar="DIGITS_ARCHITECTURE",
            help="The network: reference (the textbook's) or deep (smaller and better).",
        ),
    ] = "reference",
    recipe: Annotated[
        str,
        typer.Option(
            envvar="DIGITS_RECIPE",
            help="How to train it: quick (about a minute) or release (as well as it can be).",
        ),
    ] = "quick",
    epochs: Annotated[
        int | None, typer.Option(envvar="DIGITS_EPOCHS", help="Instead of the recipe's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(envvar="DIGITS_BATCH_SIZE", help="Instead of the recipe's.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            envvar="DIGITS_PRECISION",
            help="Of the arithmetic: float32, or bfloat16, which is quicker on processors that"
            " multiply it (AMX).",
        ),
    ] = "float32",
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
    extra_data: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_EXTRA_DATA",
            help="Own pictures to train on beside MNIST: a folder or s3:// prefix that holds a"
            " labels.csv with the columns file and truth. Lines whose truth is not one digit are"
            " left out.",
        ),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(
            envvar="DIGITS_SEGMENTER",
            metavar="FOLDER",
            help="The folder of the segmentation network that the bundle gets: a bundle's, or what"
            " `python -m training_job.segmenter` wrote. Default: the one that ships.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            envvar="DIGITS_OUT",
            resolve_path=True,
            help="Folder for the bundle; one that is there is replaced, if it is a bundle.",
        ),
    ] = Path("bundle"),
    publish: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_MODELS",
            metavar="STORE",
            help="Upload the bundle there: to a folder or s3://bucket[/prefix].",
        ),
    ] = None,
    promote: Annotated[
        bool,
        typer.Option(
            envvar="DIGITS_PROMOTE",
            help="Put the uploaded model in service, if it passes the gate.",
        ),
    ] = True,
    run: Annotated[
        str | None,
        typer.Option(
            envvar="DIGITS_RUN",
            help="A name for this run: the store then notes which model it made, and keeps its"
            " checkpoint, so that another machine can go on from there.",
        ),
    ] = None,
) -> None:
    """Train, evaluate and export the network; upload and promote it where asked.

    A run that was cut off goes on after its last whole epoch when it is started again with the same
    settings. Exits with 2 and one line if it cannot be done as asked, with 1 if the gate refuses
    the model; nothing is left half-written.
    """
    given: dict[str, Any] = {} if data is None else {"data": data}
    if segmenter is not None:
        given["segmenter"] = segmenter
    try:
        for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(sign, _stop)
        # TensorFlow's libraries log while they are loaded, whatever TF_CPP_MIN_LOG_LEVEL says.
        with nothing_on_stderr():
            from training_job.progress import Progress  # noqa: PLC0415 - so that --help is quick
            from training_job.train import Job, train  # noqa: PLC0415

        job = Job(
            architecture, recipe, epochs, batch_size, precision, seed,
            extra_data=extra_data, out=out, publish=publish, promote=promote, run=run, **given,
        )  # fmt: skip
        train(job, Progress())
    except (TrainingError, DigitsError) as error:
        _fail(str(error), 1 if isinstance(error, NotPromoted) else 2)
    except _Stopped as stopped:
        _fail("Stopped. The same command goes on after the last whole epoch.", 128 + stopped.signal)


class _Stopped(BaseException):
    """Asked to end by a signal; not an Exception, lest something take it for one of its own."""

    def __init__(self, number: int) -> None:
        self.signal = number


def _stop(number: int, _: object) -> NoReturn:
    # Once is enough: an impatient second one must not stop the cleaning up.
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sign, signal.SIG_IGN)
    raise _Stopped(number)


def _fail(line: str, code: int) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"Failed: {line}", style="red", markup=False)
    sys.exit(code)


# Without markup: brackets in the help mean themselves, and the last line of an error is the error.
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(main)

if __name__ == "__main__":
    app()
