"""An archive of the previous release, for the test that deploys it and then upgrades it.

    python -m tests.release_before 0.1.0 98fbea7    # after a release: archive that one instead

writes `release_before.txt`, with version and commit, and `release_before.tar.xz`, with the files of
that commit that `sam build` and the command line need. The archive makes the upgrade test
independent of git's history, which a shallow clone or a source archive lacks; if the commit is
available, `tests/e2e/test_upgrade.py` compares the two.
"""

from __future__ import annotations

import io
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

from infra.local.cloud import ROOT

NAMED = Path(__file__).with_suffix(".txt")
ARCHIVE = Path(__file__).with_suffix(".tar.xz")
# The sources of the build, and of the model only the served files; the others are large.
PARTS = (
    *("template.yaml", "samconfig.toml", "lambda_predict", "digits"),
    *("infra/slim.py", "requirements/lambda.txt"),
    *(f":(exclude,glob)digits/model/**/*.{kind}" for kind in ("keras", "h5", "png", "html", "csv")),
)


class Release(NamedTuple):
    """A version and its commit's full id."""

    version: str
    commit: str


def named() -> Release:
    """Return the release that `release_before.txt` names."""
    return Release(*NAMED.read_text().split())


def packed() -> bytes:
    """Return the archive as uncompressed tar; git wrote the commit's id into its header."""
    return lzma.decompress(ARCHIVE.read_bytes())


def from_history(commit: str) -> bytes | None:
    """Make the same archive from git's history; None if the commit is not available."""
    found = _git("cat-file", "-e", f"{commit}^{{commit}}")
    if found.returncode:
        return None
    made = _git("archive", "--format=tar", commit, *PARTS)
    made.check_returncode()
    return made.stdout


def unpack(folder: Path) -> Path:
    """Unpack the archived release into a new folder."""
    with opened(packed()) as archive:
        archive.extractall(folder)
    return folder


def opened(archive: bytes) -> tarfile.TarFile:
    """Read a tar from memory."""
    return tarfile.open(fileobj=io.BytesIO(archive))


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)


def keep(version: str, revision: str) -> None:
    """Archive another release."""
    commit = _git("rev-parse", "--verify", f"{revision}^{{commit}}").stdout.decode().strip()
    made = from_history(commit) if commit else None
    if made is None:
        sys.exit(f"{revision} is not in this checkout's history; fetch it first.")
    NAMED.write_text(f"{version} {commit}\n")
    ARCHIVE.write_bytes(lzma.compress(made, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    keep(*sys.argv[1:])
