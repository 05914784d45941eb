"""`make run`'s own code: a real deployment into a local cloud, pictures through both interfaces."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from digits.registry import bundle
from infra.local.cloud import ROOT, STACK, LocalCloud
from infra.local.pictures import pictures
from tests.conftest import GOLDEN, require
from tests.served import REFRESH_SECONDS, Hammer, free_port, health

# Training and deploying take two minutes on two quiet cores, and ten times that on a busy machine.
PATIENCE_SECONDS = 1_800


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of this module keep state, logs, build and model."""
    for environment, tool in ((".venvs/sam", "sam"), (".venvs/local-cloud", "ministack")):
        require(str(ROOT / environment / "bin" / tool))
    return tmp_path_factory.mktemp("local-cloud")


def command(folder: Path, port: int, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "infra.local", "--folder", str(folder), "--port", str(port)),
        *options,
    ]


def run_once(
    folder: Path, port: int, within: float = PATIENCE_SECONDS
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, port, "--once"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def processes_in(folder: Path) -> list[str]:
    """Command lines of the running programs that have the folder in arguments or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            if str(folder).encode() in told and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def line_in(output: str, start: str) -> str:
    """The last word of the line that starts so."""
    return next(line for line in output.splitlines() if line.startswith(start)).split()[-1]


def url_in(output: str) -> str:
    return line_in(output, "API  ")


def key_in(output: str) -> str:
    return line_in(output, "API key")


@pytest.fixture(scope="module")
def first_run(folder: Path) -> subprocess.CompletedProcess[str]:
    """`make run ONCE=1` from nothing."""
    return run_once(folder, free_port())


def test_every_answer_of_both_interfaces_is_right_or_marked_for_review(first_run):
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    dropped = pictures()
    assert first_run.stdout.count("✓") == len(dropped) == 21
    assert "All 21 answers are right or marked for review." in first_run.stdout


def test_the_quick_model_is_as_good_as_promised(first_run, folder):
    manifest = bundle.verify(bundle.in_folder(folder / "bundle"))
    assert (manifest.architecture, manifest.recipe) == ("reference", "quick")
    assert manifest.metrics.test_accuracy >= 0.993


def test_nothing_is_left_running(first_run, folder):
    assert processes_in(folder) == []


@pytest.fixture(scope="module")
def served(first_run, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, LocalCloud]]:
    """A second `make run`, which goes on serving: the process, its output so far, its cloud."""
    cloud, app_port = LocalCloud(free_port()), free_port()
    process = subprocess.Popen(
        command(folder, cloud.port, "--app-port", str(app_port)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = ""
    try:
        for line in process.stdout:
            output += line
            if "Ctrl-C stops everything" in line:
                break
        yield process, output, cloud
    finally:
        process.send_signal(signal.SIGINT)  # what it started, it stops
        process.communicate(timeout=180)


def test_a_second_run_does_no_work_twice(served):
    _, output, _ = served
    assert "Training: nothing changed" in output
    assert "nothing changed since the last build" in output
    assert "All 21 answers are right" in output


def test_the_printed_curl_command_works_as_it_stands(served):
    _, output, _ = served
    line = next(line for line in output.splitlines() if line.startswith("  curl "))
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=180, check=True
    )
    assert json.loads(done.stdout)["text"] == "7"


def test_the_printed_digits_command_works_as_it_stands(served):
    _, output, _ = served
    line = next(line for line in output.splitlines() if "bin/digits classify" in line)
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=180, check=True
    )
    assert " 7 " in done.stdout


def test_smoke_proves_the_deployment_from_outside(served):
    """What `make smoke` runs against a deployment on AWS."""
    _, output, _ = served
    done = subprocess.run(
        [sys.executable, "-m", "infra.smoke", "--url", url_in(output)],
        cwd=ROOT,
        env={**os.environ, "KEY": key_in(output)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 6


def test_the_api_key_is_needed_where_the_design_says_so(served):
    _, output, _ = served
    url = url_in(output)
    for call, status in (("/model", 403), ("/health", 200), ("/openapi.json", 200), ("/docs", 200)):
        try:
            answer = urllib.request.urlopen(url + call, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        assert answer.status == status, call


def test_the_served_model_is_the_published_one(served, folder):
    _, output, _ = served
    url = url_in(output)
    version = health(url)
    assert version == bundle.load(folder / "bundle").manifest.version
    assert version != bundle.load().manifest.version


def test_an_image_dropped_later_is_labelled_too(served):
    _, output, cloud = served
    s3 = cloud.s3()
    names = {line.split()[0]: line.split()[-1] for line in output.splitlines() if "s3://" in line}
    images, labels = (names[it].split("/")[2] for it in ("Images", "Labels"))
    s3.upload_file(str(GOLDEN / "three.png"), images, "später.png")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(s3.exceptions.NoSuchKey):
            answer = s3.get_object(Bucket=labels, Key="labels/später.png.json")
            assert json.loads(answer["Body"].read())["text"] == "3"
            return
        time.sleep(0.2)
    pytest.fail("no label came")


def test_what_lost_its_label_is_found_and_labelled_by_the_state_machine(served):
    _, output, cloud = served
    s3 = cloud.s3()
    names = {line.split()[0]: line.split()[-1] for line in output.splitlines() if "s3://" in line}
    images, labels = (names[it].split("/")[2] for it in ("Images", "Labels"))
    found = s3.list_objects_v2(Bucket=labels, Prefix="labels/")["Contents"]
    s3.delete_object(Bucket=labels, Key=found[0]["Key"])

    def digits_labels(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "digits.cli", "labels", *arguments, "--stack", STACK],
            cwd=ROOT, env=cloud.env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status() -> dict[str, int]:
        told: dict[str, int] = json.loads(
            digits_labels("status", f"s3://{images}", "--format", "json")
        )
        return told

    before = status()
    assert before["waiting"] == 1
    assert "Done" in digits_labels("backfill", f"s3://{images}")
    after = status()
    assert after["waiting"] == after["dead letters"] == 0
    assert after["images"] == before["images"]
    assert s3.head_object(Bucket=labels, Key=found[0]["Key"])


def test_a_promoted_model_takes_over_without_a_failed_request(served):
    """`digits model promote` replaces the trained model by the one that ships with the code."""
    _, output, cloud = served
    url = url_in(output)
    models = line_in(output, "Publishing the model to")
    before, version = health(url), bundle.load().manifest.version
    with Hammer(f"{url}/classify", key_in(output)) as hammer:
        promotion = [
            *(sys.executable, "-m", "digits.cli", "model", "promote"),
            *(str(bundle.SHIPPED), models),
        ]
        done = subprocess.run(
            promotion, cwd=ROOT, env=cloud.env, capture_output=True, text=True, timeout=180,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        hammer.until(version, REFRESH_SECONDS + 60)
    assert version != before
    assert hammer.statuses == {200}
    assert hammer.versions == [before, version]  # and never back


def test_the_app_can_read_through_the_deployed_api(served, monkeypatch):
    _, output, _ = served
    for name, value in app_environment(output).items():
        monkeypatch.setenv(name, value)

    app = AppTest.from_file(ROOT / "streamlit_app/app.py", default_timeout=60).run()
    app.segmented_control(key="engine").set_value("api").run()

    assert not app.exception
    told = "".join(element.proto.body for element in app.get("html"))
    assert f"sent to {urlsplit(url_in(output)).netloc}" in told
    assert "read as 7" in told


def app_environment(output: str) -> dict[str, str]:
    """What the served app was told of the API."""
    port = line_in(output, "App ").rpartition(":")[2]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"--server.port\0{port}\0" in (process / "cmdline").read_text():
                told = dict(
                    pair.split("=", 1)
                    for pair in (process / "environ").read_text().split("\0")
                    if pair.startswith("DIGITS_API_")
                )
                assert set(told) == {"DIGITS_API_URL", "DIGITS_API_KEY"}
                return told
    raise AssertionError(f"nothing serves on port {port}")


def test_a_busy_port_is_one_clear_line(served, folder, tmp_path):
    _, _, cloud = served
    done = run_once(tmp_path, cloud.port, within=60)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"Failed: Port {cloud.port} for the local cloud is in use: stop its program, or choose"
        f" another port: `make run PORT={cloud.port + 1000}`"
    ]
    assert processes_in(tmp_path) == []


def test_ctrl_c_stops_everything_that_was_started_and_nothing_else(served, folder):
    """The last of the tests of the served run: it ends it."""
    process, _, _ = served
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert len(processes_in(folder)) >= 3  # this one, the cloud and the app
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # twice, as an impatient person does
        assert process.wait(30) == 130
        assert processes_in(folder) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_failed_deployment_is_one_clear_line_and_leaves_nothing_running(first_run, folder):
    """The stack's artifacts are taken away after the build: `sam deploy` has nothing to upload."""
    hidden = folder / "build" / "HttpApiFunction"
    hidden.rename(folder / "hidden")
    try:
        done = run_once(folder, free_port())
    finally:
        (folder / "hidden").rename(hidden)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Failed: sam deploy failed")
    assert "Traceback" not in done.stdout + done.stderr
    assert processes_in(folder) == []
