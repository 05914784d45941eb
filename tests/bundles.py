"""Bundles for tests: the shipped one under another version, with other settings or figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from digits import bundle, store

OLD, NEW = "20261101T000000Z-0206d068", "20261102T000000Z-0206d068"


def make_bundle(
    folder: Path, version: str, *, temperature: float | None = None, report: Any = None
) -> Path:
    """A whole, valid bundle in `folder`; `report` edits the figures of `report.json` in place."""
    shutil.copytree(bundle.SHIPPED, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["version"] = version
    manifest["created"] = f"{version[:4]}-{version[4:6]}-{version[6:8]}T00:00:00Z"
    if temperature is not None:
        manifest["decision"]["temperature"] = temperature
    if report is not None:
        figures = json.loads((folder / "report.json").read_text())
        report(figures)
        (folder / "report.json").write_text(json.dumps(figures))
        described = bundle.describe_file(folder / "report.json")
        manifest["files"]["report.json"] = described.model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return folder


def tampered(path: Path) -> None:
    """Change one byte of a file."""
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def version_in_service(models: store.Store) -> str:
    """The version of a model that is truly there to be served."""
    found = store.current(models)
    assert found is not None
    return store.fetch(models, found[0]).manifest.version


class Killed(BaseException):
    """What a SIGKILL looks like from inside: nobody's `except` catches it."""
