"""Wheel, training image and app contain every file that they need; see also `test_artifact`.

These tests compare packages with the source tree, so that a new subpackage or model file needs no
change of a list.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from infra.local.cloud import ROOT, files_of, tool
from tests.conftest import require
from tests.packaged import modules, training_files, try_package

UV = tool(".venvs/uv", "uv")
DOCKERFILE = "training_job/Dockerfile"


def copied(files: list[str], folder: Path) -> Path:
    """Copy files of the source tree into a folder."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """Copy every file that git does not ignore, as in a clone.

    An empty repository lists them as untracked, so this also works in a source archive.
    """
    require("git")
    empty = tmp_path_factory.mktemp("git")
    git("init", "--quiet", "--bare", str(empty))
    of_root = (f"--git-dir={empty}", f"--work-tree={ROOT}", "-C", str(ROOT))
    listed = git(*of_root, "ls-files", "-z", "--others", "--exclude-standard")
    return copied(listed.rstrip("\0").split("\0"), tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    """Build the wheel with the installed setuptools, and unpack it."""
    require(str(UV))
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            *(str(UV), "build", "--wheel", "--offline", "--no-build-isolation"),
            *("--python", str(tool(".venv", "python")), "--out-dir", str(folder), str(checkout)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_holds_every_file_of_the_library(wheel):
    ours = {path.relative_to(ROOT) for path in files_of(ROOT / "digits")}
    assert {path.relative_to(wheel) for path in files_of(wheel / "digits")} == ours


def test_the_library_works_from_the_wheel_alone(wheel):
    assert try_package(wheel, modules("digits"), whole=True) == "7"


@pytest.fixture(scope="module")
def image_context(tmp_path_factory) -> Path:
    """Copy the files that the training image's Dockerfile copies to /app from its build context."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in ignored if line.strip() and not line.startswith("#")]
    given = exclude_paths(str(ROOT), patterns, DOCKERFILE) - {DOCKERFILE}
    sources = re.findall(r"^COPY (\S+) /app/", (ROOT / DOCKERFILE).read_text(), re.MULTILINE)
    app = [
        name
        for name in given
        if (ROOT / name).is_file() and any(f"{name}/".startswith(f"{it}/") for it in sources)
    ]
    return copied(app, tmp_path_factory.mktemp("app"))


def test_the_context_of_the_training_image_has_all_code_and_the_served_model_files(image_context):
    there = {path.relative_to(image_context) for path in files_of(image_context)}
    assert there == training_files()


def test_the_training_job_works_from_the_context_of_its_image(image_context):
    assert try_package(image_context, modules("digits", "training_job")) == "7"


@pytest.fixture(scope="module")
def cloud_python(tmp_path_factory) -> Path:
    """Return an interpreter with only the packages that Community Cloud installs."""
    require(str(UV))
    folder = tmp_path_factory.mktemp("app-environment")
    python = folder / "bin/python"
    for command in (
        ["venv", "--quiet", "--clear", "--python", str(tool(".venv", "python")), str(folder)],
        [
            *("pip", "sync", "--quiet", "--require-hashes", "--python", str(python)),
            str(ROOT / "streamlit_app/requirements.txt"),
        ],
    ):
        done = subprocess.run([str(UV), *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return python


PAGES = """
import sys
sys.path.insert(0, "streamlit_app")
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("streamlit_app/app.py", default_timeout=60).run()
for page in ("views/recognise.py", "views/batch.py", "views/model.py"):
    app.switch_page(page).run()
    assert not app.exception, app.exception
"""


def test_the_app_works_in_a_clone_with_what_community_cloud_installs(checkout, cloud_python):
    """On Community Cloud the script's folder is on the search path, the clone's root is not."""
    library = modules("digits", but=["digits.cli"])
    parts = modules("streamlit_app", but=["streamlit_app.app", "streamlit_app.views"])
    text = try_package(checkout, [*library, *parts], python=cloud_python, whole=True)
    assert text == "7"
    done = subprocess.run(
        [str(cloud_python), "-I", "-c", PAGES],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
