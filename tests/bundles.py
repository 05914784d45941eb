"""Bundles for tests: the shipped one under another version, with other settings or figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from digits.registry import bundle, object_store, registry

OLD, NEW = "20261101T000000Z-0206d068", "20261102T000000Z-0206d068"


def make_bundle(
    folder: Path, version: str, *, temperature: float | None = None, report: Any = None
) -> Path:
    """Make a complete, valid bundle in `folder`; `report` edits the figures of `report.json`."""
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


def version_in_service(models: object_store.Store) -> str:
    """Fetch the promoted model and return its version."""
    found = registry.current(models)
    assert found is not None
    return registry.fetch(models, found[0]).manifest.version


class Killed(BaseException):
    """Simulates a SIGKILL: no `except Exception` catches it."""


SCHEMA_1 = Path(__file__).parent / "schema_1"  # the manifest and report that version 0.1.0 shipped


def make_schema_1(folder: Path) -> Path:
    """Make a complete bundle of schema 1 in `folder`: that of version 0.1.0, without its images."""
    folder.mkdir()
    shutil.copy(SCHEMA_1 / "report.json", folder)
    shutil.copy(bundle.SHIPPED / bundle.TFLITE, folder)
    manifest = json.loads((SCHEMA_1 / "manifest.json").read_text())
    manifest["files"] = {
        name: bundle.describe_file(folder / name).model_dump()
        for name in (bundle.REPORT, bundle.TFLITE)
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return folder


def put_in_service(
    folder: Path, models: object_store.Store, previous: str | None = None
) -> registry.Pointer:
    """Publish and promote the bundle in `folder` without a check of its schema."""
    raw = (folder / "manifest.json").read_bytes()
    manifest = bundle.parse_manifest(raw)
    for path in folder.rglob("*"):
        if path.is_file():
            key = f"models/{manifest.version}/{path.relative_to(folder)}"
            object_store.put(models, key, path.read_bytes())
    pointer = registry.Pointer(
        version=manifest.version,
        manifest_sha256=bundle.sha256(raw),
        promoted="2026-11-28T00:00:00Z",
        previous=previous,
    )
    object_store.put(models, registry.POINTER, pointer.model_dump_json().encode())
    return pointer
