"""What make runs holds in a folder whose name has spaces."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path) -> Path:
    require("make")
    home = tmp_path / "my folder (1)"
    for name in ("Makefile", "pyproject.toml", "lambda_predict/Makefile"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / name)
    shutil.copytree(ROOT / "requirements", home / "requirements")
    for name in ("streamlit_app/requirements.txt", "digits/model/manifest.json"):
        (home / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, home / name)
    (home / ".venvs/uv/bin").mkdir(parents=True)
    (home / ".venvs/uv/bin/uv").write_text("#!/bin/sh\n")
    (home / ".venvs/uv/bin/uv").chmod(0o755)
    return home


def words(*command: str, cwd: Path) -> list[str]:
    """The words of all that make would run, as the shell splits them."""
    done = subprocess.run(
        ["make", "--dry-run", *command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return shlex.split(done.stdout)


@pytest.mark.parametrize(
    "target", ["setup", "run", "test", "app", "train", "build", "check", "lock"]
)
def test_every_command_is_whole_in_a_folder_with_spaces(folder, target):
    torn = [word for word in words(target, cwd=folder) if "folder" in word]
    assert [word for word in torn if str(folder) not in word] == []


@pytest.mark.parametrize("is_named", [False, True])
def test_the_functions_are_built_in_a_folder_with_spaces(folder, is_named, monkeypatch):
    monkeypatch.delenv("UV", raising=False)
    uv = folder / ".venvs/uv/bin/uv"
    if is_named:
        monkeypatch.setenv("UV", str(uv))
    out = folder / "an artifact"
    ran = words("build-HttpApiFunction", f"ARTIFACTS_DIR={out}", cwd=folder / "lambda_predict")
    assert str(uv) in [str(Path(word).resolve()) for word in ran if word.endswith("/uv")]
    torn = [word for word in ran if "folder" in word or "artifact" in word]
    assert [word for word in torn if str(folder) not in word] == []
