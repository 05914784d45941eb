"""`make run`: train, deploy locally, label real images over both interfaces, serve the app.

python -m infra.local                 until Ctrl-C
python -m infra.local --once          stop after the labels; exit 0 if none is an accepted error
python -m infra.local --retrain       train even if nothing changed
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from digits.errors import DigitsError, ModelUnavailable
from digits.registry import bundle, gate, object_store, registry
from infra.local import proof
from infra.local.cloud import ROOT, Deployment, LocalCloud, digest_of, files_of, tool
from infra.local.pictures import pictures
from infra.local.processes import Failed, Processes, answers, check_port_is_free, end_once

# Without a terminal, the tables may be as wide as needed.
console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 120)


def main(
    once: Annotated[bool, typer.Option(help="Stop after the labels.")] = False,
    retrain: Annotated[bool, typer.Option(help="Train even if nothing changed.")] = False,
    port: Annotated[int, typer.Option(help="Port of the local cloud.")] = 4566,
    app_port: Annotated[int, typer.Option(help="Port of the app.")] = 8501,
    folder: Annotated[
        Path, typer.Option(help="Folder for state, logs and the trained model.")
    ] = ROOT / ".local-cloud",
) -> None:
    """Run the whole chain on this machine."""
    end_once()
    try:
        with Processes(folder / "logs") as processes:
            right = _run(processes, LocalCloud(port), folder, None if once else app_port, retrain)
    except KeyboardInterrupt:
        console.print("\nStopped.")
        raise typer.Exit(130) from None
    except (Failed, DigitsError, ClientError, BotoCoreError) as error:
        Console(stderr=True, soft_wrap=True).print(f"Failed: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if right else 1)


def _run(
    processes: Processes, cloud: LocalCloud, folder: Path, app_port: int | None, retrain: bool
) -> bool:
    """Run the chain step by step; return whether no answer was an accepted error."""
    if app_port is not None:
        check_port_is_free(app_port, "the app", "APP_PORT")
    with _step(f"Starting the local cloud on {cloud.endpoint}"):
        cloud.start(processes, _empty_folder(folder / "state"))

    trained = folder / "bundle"
    _train_if_changed(processes, cloud, trained, folder / "trained-from", retrain)

    with _step("sam build"):
        if not cloud.build(processes, folder / "build"):
            console.print("  nothing changed since the last build", style="dim")
    with _step("sam deploy"):
        deployment = cloud.deploy(processes, folder / "build")
    with _step(f"Publishing the model to s3://{deployment.models_bucket}"):
        _publish(cloud, deployment, trained)

    right = _label_and_compare(cloud, deployment)
    if app_port is not None:
        _serve(processes, cloud, deployment, app_port)
    return right


def _train_if_changed(
    processes: Processes, cloud: LocalCloud, trained: Path, stamp: Path, force: bool
) -> None:
    """Train the quick model, unless a complete one exists that was trained from the same inputs."""
    sources = [*files_of(ROOT / "training_job"), *files_of(ROOT / "digits")]
    digest = digest_of([ROOT / "requirements/training.txt", *sources])
    if not force and stamp.exists() and stamp.read_text() == digest and _is_complete(trained):
        console.print("Training: nothing changed since the last one (TRAIN=1 forces it)")
        return
    stamp.unlink(missing_ok=True)
    console.print("Training")
    command = [str(tool(".venv", "python")), "-m", "training_job", "--out", str(trained)]
    processes.run("training", command, env=cloud.env, show=True)
    stamp.write_text(digest)


def _is_complete(trained: Path) -> bool:
    try:
        bundle.contents(bundle.in_folder(trained))
    except ModelUnavailable:
        return False
    return True


def _publish(cloud: LocalCloud, deployment: Deployment, trained: Path) -> None:
    models = object_store.S3Store(deployment.models_bucket, client=cloud.s3())
    version = registry.upload(trained, models).version
    gate.promote(version, models)
    console.print(f"  {version} passed the gate and is in service", style="dim")


def _label_and_compare(cloud: LocalCloud, deployment: Deployment) -> bool:
    """Label the images through both interfaces and print the table."""
    dropped = pictures()
    with _step(f"Uploading {len(dropped)} files to s3://{deployment.images_bucket}"):
        proof.drop(cloud.s3(), deployment, dropped)
    with _step("Waiting for their labels"), console.status("") as status:
        seen = 0

        def one_more() -> None:
            nonlocal seen
            seen += 1
            status.update(f"{seen} of {len(dropped)}")

        labels = proof.wait_for_labels(cloud.s3(), deployment, dropped, one_more)
    with _step("Posting them to the API"):
        rows = [
            proof.Row(picture, labels[picture.key], *proof.post(deployment, picture))
            for picture in dropped
        ]
    console.print(proof.table(rows))
    wrong = [row.picture.key for row in rows if not row.is_right]
    if wrong:
        console.print(f"[red]Accepted errors: {', '.join(wrong)}[/]")
    else:
        console.print(f"[green]All {len(rows)} answers are right or marked for review.[/]")
    return not wrong


def _serve(processes: Processes, cloud: LocalCloud, deployment: Deployment, app_port: int) -> None:
    """Serve the app beside the API until Ctrl-C, and print how to use both."""
    command = [
        str(tool(".venv", "streamlit")), "run", str(ROOT / "streamlit_app/app.py"),
        "--server.port", str(app_port), "--server.address", "127.0.0.1",
        "--server.headless", "true",
    ]  # fmt: skip
    env = {
        **cloud.env,
        "DIGITS_API_URL": deployment.api_url,
        "DIGITS_API_KEY": deployment.api_key,
    }
    with _step("Starting the app"):
        processes.start("app", command, env=env, is_up=lambda: answers(app_port), within=60)
    sample = ROOT / "tests/golden/seven.png"
    at = f"--endpoint-url {cloud.endpoint}"
    console.print(
        f"\n[bold]App[/]      http://127.0.0.1:{app_port}"
        f"\n[bold]API[/]      {deployment.api_url}"
        f"\n[bold]API key[/]  {deployment.api_key}"
        f"\n[bold]Images[/]   s3://{deployment.images_bucket}"
        f"\n[bold]Labels[/]   s3://{deployment.labels_bucket}/labels/"
        "\n\nTry:"
        f"\n  curl -H 'x-api-key: {deployment.api_key}' -H 'Content-Type: image/png'"
        f" --data-binary @{shlex.quote(str(sample))} {deployment.api_url}/classify"
        f"\n  AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test aws s3 cp {at}"
        f" {shlex.quote(str(sample))} s3://{deployment.images_bucket}/"
        f"\n  .venv/bin/digits classify {shlex.quote(str(sample))}"
        "\n\nCtrl-C stops everything."
    )
    processes.wait_for_any()


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Print a step's name, and its duration at the end."""
    started = time.perf_counter()
    console.print(what)
    yield
    console.print(f"  {time.perf_counter() - started:.1f} s", style="dim")


def _empty_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    typer.run(main)
