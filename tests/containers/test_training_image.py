"""The training job in its container: without network and root, and without partial bundles."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from digits.registry import bundle
from tests.conftest import GOLDEN
from tests.containers.conftest import COMMIT
from tests.packaged import PROBE, modules, training_files

pytestmark = pytest.mark.container

USER = 10001
# TensorFlow's library alone has 584 MB; a larger image contains something unintended, such as
# development packages or a cache.
MAX_BYTES = 1_450_000_000


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Make a folder of the host that the container's user may write to."""
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def settings(out: Path) -> list[str]:
    """Return options of `docker run` that isolate the job as far as possible."""
    return ["--network=none", "--read-only", "--tmpfs=/tmp", f"--volume={out}:/out"]


@pytest.fixture(scope="module")
def first_run(engine, image, tmp_path_factory):
    """Train one epoch, configured by environment variables; return the process and its folder."""
    folder = tmp_path_factory.mktemp("out")
    folder.chmod(0o777)
    done = engine.docker(
        "run", "--rm", *settings(folder), "--env=DIGITS_EPOCHS=1", image, within=600
    )
    return done, folder


def test_a_run_without_a_network_writes_a_complete_bundle(first_run):
    done, folder = first_run
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in folder.iterdir()] == ["bundle"]
    manifest = bundle.verify(bundle.in_folder(folder / "bundle"))
    assert manifest.training.epochs == 1
    assert manifest.metrics.test_accuracy > 0.95
    assert manifest.git_commit == COMMIT


def test_the_log_is_json_lines_and_the_last_names_the_version(first_run):
    done, folder = first_run
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) >= 4
    assert lines[-1]["version"] == bundle.load(folder / "bundle").manifest.version


def test_the_container_does_not_run_as_root(first_run):
    _, folder = first_run
    owners = {path.stat().st_uid for path in folder.rglob("*")}
    assert owners == {USER}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--architecture", "alexnet"], "alexnet"),
        (["--data", "/out/mnist.npz"], "/out/mnist.npz"),
    ],
)
def test_wrong_input_exits_with_2_and_one_error_line(engine, image, out, wrong, named):
    done = engine.docker("run", "--rm", *settings(out), image, "training_job", *wrong)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Failed: ")
    assert named in line
    assert list(out.iterdir()) == []


def test_a_read_only_output_folder_is_an_error_of_one_line(engine, image, out):
    out.chmod(0o755)
    done = engine.docker("run", "--rm", *settings(out), image)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == "Failed: Cannot write to /out/bundle (Permission denied); choose another --out."


@pytest.fixture
def training(engine, image, out) -> Iterator[str]:
    """Start a training over an existing bundle; yield its container after the first epoch."""
    (out / "bundle").mkdir()
    (out / "bundle/manifest.json").write_text("{}")
    name = "digits-training-test"
    engine.docker(
        "run", "--detach", f"--name={name}", *settings(out), image, "training_job", "--epochs", "50"
    )
    deadline = time.monotonic() + 180
    while '"epoch": 1' not in engine.docker("logs", name).stdout:
        assert time.monotonic() < deadline, engine.docker("logs", name)
        time.sleep(1)
    yield name
    engine.docker("rm", "--force", name)


def test_docker_stop_ends_training_without_partial_files(engine, training, out):
    started = time.monotonic()
    engine.docker("stop", "--time=60", training)
    assert time.monotonic() - started < 30
    code = engine.docker("inspect", "--format={{.State.ExitCode}}", training).stdout.strip()
    assert code == "143"
    (line,) = engine.docker("logs", training).stderr.splitlines()
    assert "Stopped" in line
    assert not [path for path in out.iterdir() if path.name.endswith((".draft", ".old"))]
    assert (out / "bundle/manifest.json").read_text() == "{}"


def inside(engine, image: str, script: str) -> str:
    """Return the output of a shell command in the image."""
    done = engine.docker(
        "run", "--rm", "--network=none", "--user=0", "--entrypoint=sh", image, "-c", script
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_image_holds_exactly_the_training_files(engine, image):
    listed = inside(engine, image, "cd /app && find * -type f ! -path '*/__pycache__/*'")
    assert {Path(line) for line in listed.splitlines()} == training_files()


def test_every_module_imports_and_the_model_classifies_in_the_image(engine, image):
    given = ["/app", modules("digits", "training_job"), ["/app"], False, "/golden/seven.png"]
    done = engine.docker(
        *("run", "--rm", "--network=none", f"--volume={GOLDEN}:/golden:ro", "--entrypoint=python"),
        *(image, "-c", PROBE, json.dumps(given)),
        within=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "7"


def test_the_image_can_run_the_promotion_command(engine, image):
    done = engine.docker(
        *("run", "--rm", "--network=none", image),
        *("digits.cli", "model", "promote", "--help"),
    )
    assert done.returncode == 0, done.stderr
    assert "runs/NAME" in done.stdout


def test_no_build_tools_or_build_settings_remain_in_the_image(engine, image):
    left = inside(
        engine, image, "command -v gcc ld strip make git; ls /run/secrets /etc/pip.conf; true"
    )
    assert left == ""
    caches = inside(engine, image, "find / -xdev -path '*/.cache/pip' -o -name 'ca.crt'")
    assert caches == ""
    history = engine.docker("history", "--no-trunc", image).stdout
    assert "index-url" not in history


def test_the_jobs_user_cannot_write_to_the_code(engine, image):
    writable = inside(
        engine, image, f"find /app /venv ! -type l \\( -user {USER} -o -perm -o+w \\)"
    )
    assert writable == ""


def test_the_image_has_license_and_revision_labels(engine, image):
    labels = json.loads(engine.docker("inspect", "--format={{json .Config.Labels}}", image).stdout)
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert labels["org.opencontainers.image.revision"] == COMMIT


def test_the_image_stays_below_its_size_limit(engine, image):
    size = int(engine.docker("inspect", "--format={{.Size}}", image).stdout)
    assert size < MAX_BYTES
