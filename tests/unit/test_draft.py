"""A run's output folder replaces the old one only when it is complete."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training_job import draft
from training_job.draft import new_folder
from training_job.errors import TrainingError


class Stopped(BaseException):
    """What a signal raises."""


@pytest.fixture
def out(tmp_path) -> Path:
    """An old bundle."""
    return write(tmp_path / "bundle", "old")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(text)
    return folder


def text(folder: Path) -> str:
    return (folder / "manifest.json").read_text()


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def refusal(out: Path) -> str:
    with pytest.raises(TrainingError) as caught, new_folder(out):
        pytest.fail("a folder was given")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_is_seen_before_it_is_whole(out):
    with new_folder(out) as folder:
        write(folder, "new")
        assert text(out) == "old"
    assert text(out) == "new"
    assert beside(out) == ["bundle"]


def test_it_is_made_where_nothing_was(tmp_path):
    with new_folder(tmp_path / "a/b/bundle") as folder:
        write(folder, "new")
    assert text(tmp_path / "a/b/bundle") == "new"


def test_others_may_read_it(out):
    with new_folder(out) as folder:
        write(folder, "new")
    assert out.stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [TrainingError("no"), Stopped(), KeyboardInterrupt()])
def test_what_is_raised_on_the_way_leaves_the_old_one_and_nothing_else(out, error):
    with pytest.raises(type(error)), new_folder(out) as folder:
        write(folder, "new")
        raise error
    assert text(out) == "old"
    assert beside(out) == ["bundle"]


def test_folders_made_on_the_way_go_too(tmp_path):
    with pytest.raises(Stopped), new_folder(tmp_path / "a/b/bundle"):
        raise Stopped
    assert list(tmp_path.iterdir()) == []


def test_stopped_between_the_two_renames_the_old_one_comes_back(out, monkeypatch):
    rename = Path.rename

    def stopped_after_the_first(path, target):
        renamed = rename(path, target)
        if path == out:
            raise Stopped
        return renamed

    monkeypatch.setattr(Path, "rename", stopped_after_the_first)
    with pytest.raises(Stopped), new_folder(out) as folder:
        write(folder, "new")
    assert text(out) == "old"
    assert beside(out) == ["bundle"]


def killed(out: Path, program: str) -> None:
    """Run a program that says when it is where it should be killed, and kill it."""
    script = f"""
import time
from pathlib import Path
from training_job.draft import new_folder
out = Path({str(out)!r})
def here():
    print("here", flush=True)
    time.sleep(60)
{program}
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_a_killed_run_leaves_the_old_one_and_the_next_one_clears_up(out):
    killed(out, "with new_folder(out) as folder: (folder / 'half').touch(); here()")
    assert text(out) == "old"
    assert len(beside(out)) == 2
    with new_folder(out) as folder:
        write(folder, "new")
    assert text(out) == "new"
    assert beside(out) == ["bundle"]


def test_killed_between_the_two_renames_the_next_one_brings_the_old_one_back(out):
    program = """
rename = Path.rename
def killed_after_the_first(path, target):
    rename(path, target)
    if path == out: here()
Path.rename = killed_after_the_first
with new_folder(out) as folder: (folder / 'manifest.json').write_text('new')
"""
    killed(out, program)
    assert not out.exists()
    with pytest.raises(Stopped), new_folder(out):
        assert text(out) == "old"
        raise Stopped
    assert text(out) == "old"
    assert beside(out) == ["bundle"]


def test_the_draft_of_a_run_that_lives_is_left_alone(out):
    with new_folder(out) as first:
        write(first, "first")
        with new_folder(out) as second:
            write(second, "second")
        assert text(first) == "first"
    assert text(out) == "first"


@pytest.mark.parametrize("content", ["photo.jpg", "notes/todo.txt"])
def test_a_folder_of_something_else_is_never_replaced(tmp_path, content):
    path = tmp_path / "home" / content
    path.parent.mkdir(parents=True)
    path.write_text("dear")
    assert refusal(tmp_path / "home").endswith("choose another --out, or remove it.")
    assert path.read_text() == "dear"


def test_a_file_is_never_replaced(tmp_path):
    (tmp_path / "bundle").write_text("dear")
    assert "is not a bundle" in refusal(tmp_path / "bundle")
    assert (tmp_path / "bundle").read_text() == "dear"
    assert beside(tmp_path / "bundle") == ["bundle"]


def test_the_root_is_never_replaced():
    assert "is not a bundle" in refusal(Path("/"))


def test_an_empty_folder_may_be_replaced(tmp_path):
    (tmp_path / "bundle").mkdir()
    with new_folder(tmp_path / "bundle") as folder:
        write(folder, "new")
    assert text(tmp_path / "bundle") == "new"


def test_a_mounted_folder_is_refused_before_any_work(out, monkeypatch):
    monkeypatch.setattr(draft.os.path, "ismount", lambda path: path == out)
    assert "is a mount point" in refusal(out)
    assert text(out) == "old"


def test_behind_a_link_it_is_the_folder_that_is_replaced(out, tmp_path):
    (tmp_path / "link").symlink_to(out)
    with new_folder(tmp_path / "link") as folder:
        write(folder, "new")
    assert text(out) == "new"
    assert (tmp_path / "link").is_symlink()


def test_where_it_may_not_write_is_one_line():
    message = refusal(Path("/proc/nowhere/bundle"))
    assert message.startswith("Cannot write to /proc/nowhere/bundle (")
    assert message.endswith("choose another --out.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line_and_leaves_the_old_one(out):
    says = r"Cannot write to .*No space left on device"
    with pytest.raises(TrainingError, match=says), new_folder(out) as folder:
        write(folder, "half")
        Path("/dev/full").write_text("more than there is room for")
    assert text(out) == "old"
    assert beside(out) == ["bundle"]
