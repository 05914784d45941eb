"""What `sam build` zips: built by make itself, for each CPU that the template offers."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html, field e_machine
MACHINES = {"arm64": 183, "x86_64": 62}
# Lambda takes 250 MB unpacked; what is over this bound is something that nobody meant to ship.
MAX_BYTES = 135 * 1024 * 1024


def make(target: str, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Run make where the Makefile lies, as `sam build --build-in-source` does."""
    return subprocess.run(
        ["make", "--silent", target],
        cwd=ROOT / "lambda_predict",
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", params=sorted(MACHINES))
def built(request, tmp_path_factory):
    """(architecture, folder) of an artifact."""
    folder = tmp_path_factory.mktemp(request.param)
    done = make(
        "build-HttpApiFunction", ARTIFACTS_DIR=folder, DIGITS_BUILD_ARCHITECTURE=request.param
    )
    assert done.returncode == 0, done.stderr
    yield request.param, folder
    shutil.rmtree(folder)


def machine(path: Path) -> int | None:
    """The CPU that an ELF file is for; None for any other file."""
    with path.open("rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF":
        return None
    return int(struct.unpack_from("<H", header, 18)[0])


def test_every_compiled_file_is_for_the_cpu_that_was_asked_for(built):
    architecture, folder = built
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    machines = [found for path in files if (found := machine(path)) is not None]
    assert len(machines) > 50
    assert set(machines) == {MACHINES[architecture]}


def test_extensions_are_for_the_runtimes_python(built):
    _, folder = built
    extensions = [path.name for path in folder.rglob("*.cpython-*.so")]
    assert extensions
    assert all(".cpython-313-" in name for name in extensions)


def test_the_artifact_is_small(built):
    _, folder = built
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < MAX_BYTES


def test_both_doors_and_all_that_they_import_are_in_it(built):
    _, folder = built
    for package in ("digits", "lambda_predict"):
        sources = {path.name for path in (ROOT / package).glob("*.py")}
        assert sources == {path.name for path in (folder / package).glob("*.py")}
    for module in (
        *("ai_edge_litert/interpreter.py", "ai_edge_litert/libLiteRt.so", "numpy/__init__.py"),
        *("PIL/__init__.py", "pydantic/__init__.py", "python_multipart/__init__.py"),
        *("boto3/__init__.py", "aws_lambda_powertools/__init__.py", "snapshot_restore_py.py"),
        *("botocore/data/s3", "botocore/data/endpoints.json", "botocore/data/partitions.json"),
    ):
        assert (folder / module).exists(), module


def test_of_the_model_it_holds_what_is_served_and_nothing_else(built):
    _, folder = built
    files = {path.name for path in (folder / "digits" / "model").rglob("*")}
    assert files == {"manifest.json", "mnist_cnn.tflite"}
    assert not [path for path in folder.rglob("*") if path.suffix in (".keras", ".h5", ".npz")]


def test_what_a_cpu_never_loads_is_left_out(built):
    _, folder = built
    assert not list(folder.rglob("tests"))
    assert not list(folder.rglob("__pycache__"))
    litert = folder / "ai_edge_litert"
    assert not list(litert.glob("*WebGpu*"))
    assert not [name for name in ("vendors", "tools", "aot") if (litert / name).exists()]
    services = {path.name for path in (folder / "botocore" / "data").iterdir() if path.is_dir()}
    assert services == {"s3", "sqs", "sts"}


def test_the_artifact_answers_in_a_process_that_sees_nothing_else(tmp_path):
    """Pruned too much, it would not: built for this machine, it reads a digit and makes clients."""
    version = ".".join(map(str, sys.version_info[:2]))
    done = make(
        "build-S3LabelsFunction",
        ARTIFACTS_DIR=tmp_path,
        DIGITS_BUILD_ARCHITECTURE="host",
        DIGITS_BUILD_PYTHON=version,
    )
    assert done.returncode == 0, done.stderr
    probe = f"""
import io, sys
sys.path.insert(0, {str(tmp_path)!r})
from PIL import Image
import boto3
for service in ("s3", "sqs", "sts"):
    boto3.client(service, region_name="eu-west-1")
import lambda_predict.http_api, lambda_predict.s3_labels
from digits import Classifier, bundle
picture = Image.new("L", (28, 28))
picture.paste(255, (12, 4, 16, 24))
buffer = io.BytesIO()
picture.save(buffer, "PNG")
print(Classifier(bundle.load()).classify(buffer.getvalue()).text)
"""
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_DEFAULT_REGION": "eu-west-1",
        "DIGITS_LABELS_BUCKET": "labels",
    }
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", probe],  # -S: no packages of ours
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "1"


def test_another_cpu_is_refused_by_name(tmp_path):
    done = make("build-HttpApiFunction", ARTIFACTS_DIR=tmp_path, DIGITS_BUILD_ARCHITECTURE="mips")
    assert done.returncode != 0
    assert "'mips', not arm64, x86_64 or host" in done.stderr


def test_a_build_away_from_the_sources_says_what_to_do(tmp_path):
    """What SAM does without --build-in-source: it copies the folder and runs make there."""
    shutil.copytree(ROOT / "lambda_predict", tmp_path / "copy" / "code")
    done = subprocess.run(
        ["make", "--silent", "build-HttpApiFunction"],
        cwd=tmp_path / "copy" / "code",
        env={**os.environ, "ARTIFACTS_DIR": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "use `sam build --build-in-source`" in done.stderr
