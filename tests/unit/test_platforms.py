"""`digits` needs nothing that only POSIX has, and says so where LiteRT has no package.

A real Windows is not to be had here: its missing modules are blocked, and its ways to write a path
are read.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from digits.cli import models
from digits.registry import object_store
from digits.registry.object_store import FolderStore
from tests.conftest import GOLDEN

ROOT = Path(__file__).parents[2]
POSIX = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({POSIX!r}));"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_module_is_imported_without_what_only_posix_has():
    done = run(
        BLOCKED + "import importlib, pkgutil, digits;"
        "names = [m.name for m in pkgutil.walk_packages(digits.__path__, 'digits.')];"
        "[importlib.import_module(name) for name in names if not name.endswith('__main__')];"
        "print(len(names))"
    )
    assert done.stderr == ""
    assert int(done.stdout) > 40


def test_pictures_are_read_without_what_only_posix_has(tmp_path):
    out = tmp_path / "labels.xlsx"
    done = run(
        BLOCKED + "from digits.cli import main; main(sys.argv[1:])",
        "classify", str(GOLDEN / "seven.png"), "--out", str(out),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert out.stat().st_size > 1000


def test_a_folder_is_locked_without_what_only_posix_has(tmp_path):
    """Threads that each add one lose nothing: the lock is of a library, which finds another way."""
    done = run(
        BLOCKED + "import threading, warnings; from pathlib import Path;"
        "warnings.simplefilter('ignore');"  # that the lock is one of files only, as here
        "from digits.errors import Conflict; from digits.registry.object_store import FolderStore;"
        "store = FolderStore(Path(sys.argv[1])); store.swap('n', b'0', expected=None)\n"
        "def add():\n"
        "    while True:\n"
        "        seen = store.read('n')\n"
        "        try:\n"
        "            store.swap('n', b'%d' % (int(seen.data) + 1), expected=seen.etag)\n"
        "            return\n"
        "        except Conflict:\n"
        "            pass\n"
        "threads = [threading.Thread(target=add) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n",
        str(tmp_path),
    )
    assert done.stderr == ""
    assert (tmp_path / "n").read_bytes() == b"8"
    assert FolderStore(tmp_path).keys("") == ["n"]


@pytest.mark.parametrize("address", ["C:\\models", "C:/models", "d://models", "\\\\nas\\models"])
def test_a_folder_on_a_drive_is_a_store(address):
    assert isinstance(object_store.open_store(address), FolderStore)


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_version_in_a_store_is_named_with_slashes_or_backslashes(monkeypatch, separator):
    asked = []
    monkeypatch.setattr(models, "_read", lambda *_: None)
    monkeypatch.setattr(models.object_store, "open_store", asked.append)
    monkeypatch.setattr(models.registry, "in_store", lambda _, version: asked.append(version))
    version = "20261123T204400Z-1a2b3c4d"
    models.find(separator.join(("C:", "my store", "models", version)))
    assert asked == [separator.join(("C:", "my store")), version]


@pytest.mark.parametrize("how", ["from digits import Classifier", "command"])
def test_without_litert_there_is_a_sentence(how):
    missing = "import sys; sys.modules['ai_edge_litert'] = None;"
    if how == "command":
        done = run(missing + "from digits.cli import main; main(['classify', 'tests/golden'])")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith("Error: LiteRT")
    else:
        done = run(missing + how)
        assert done.stderr.splitlines()[-1].startswith("digits.errors.ModelUnavailable: LiteRT")
    for word in ("glibc", "Apple silicon", "Windows", "Intel Mac", "Alpine"):
        assert word in done.stderr


def test_without_litert_models_are_still_looked_at():
    missing = "import sys; sys.modules['ai_edge_litert'] = None;"
    done = run(missing + "from digits.cli import main; main(['model', 'show', '--format', 'json'])")
    assert json.loads(done.stdout)
