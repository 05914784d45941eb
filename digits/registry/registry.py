"""The model registry: upload, promote, roll back and list bundles; read the one in service.

A store holds ``models/<version>/…`` and the pointer ``models/current.json``, which names the
version in service. A bundle's files are written first, then its manifest, then the pointer:
readers never see part of a bundle, and an interrupted upload does not affect the model in service.
Every write is conditional on the state that the writer read, so of two concurrent writers one gets
a `Conflict`. `gate` decides whether a model may be promoted; `object_store` stores the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from digits.errors import Conflict, ModelUnavailable
from digits.registry import bundle
from digits.registry.bundle import MANIFEST, VERSION, Bundle, Manifest, ReadFile, Sha256, Version
from digits.registry.object_store import (
    NotInStore,
    Store,
    StoreUnreachable,
    put,
    read_or_none,
)

POINTER = "models/current.json"


class Pointer(BaseModel):
    """`models/current.json`: the version in service."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    version: Version
    manifest_sha256: Sha256
    promoted: str
    previous: Version | None = None
    forced: str | None = None  # the reason given for overriding the promotion gate

    @model_serializer(mode="wrap")
    def _without_empty_reason(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if self.forced is None:
            del fields["forced"]
        return fields


@dataclass(frozen=True)
class PointerState:
    """The pointer as it was read, with the tag that a conditional change of it needs.

    Attributes
    ----------
    pointer
        None if nothing has been promoted yet, or if the object is not a valid pointer.
    etag
        Tag of the object; None if it does not exist.
    """

    pointer: Pointer | None
    etag: str | None


@dataclass(frozen=True)
class StoredVersion:
    """One version in a store.

    `manifest` is None if it is missing or not valid. `problem` is the reason why the version cannot
    be served, or None.
    """

    version: str
    manifest: Manifest | None
    problem: str | None


def current(store: Store, *, unless: str | None = None) -> tuple[Pointer, str] | None:
    """Return the pointer of `store` and its tag; None if the tag equals `unless`.

    Raises
    ------
    NotInStore
        If nothing has been promoted yet.
    ModelUnavailable
        If the pointer is not valid.
    """
    try:
        blob = store.read(POINTER, unless=unless)
    except NotInStore as error:
        raise NotInStore(f"Nothing has been promoted in {store.address} yet.") from error
    if blob is None:
        return None
    pointer = _parsed(blob.data)
    if pointer is None:
        raise ModelUnavailable(
            f"{POINTER} in {store.address} is not a valid pointer; promote a model again."
        )
    return pointer, blob.etag


def pointer_state(store: Store) -> PointerState:
    """Read the pointer of `store` before changing it; missing or invalid is not an error.

    Raises
    ------
    StoreUnreachable
        If the store does not answer, or denies access.
    """
    blob = read_or_none(store, POINTER)
    return PointerState(_parsed(blob.data), blob.etag) if blob else PointerState(None, None)


def fetch(store: Store, pointer: Pointer) -> Bundle:
    """Read and verify the files of the bundle that `pointer` names and that serving needs.

    Raises
    ------
    ModelUnavailable
        If a file is missing or does not match its digest, if the bundle is of another version, or
        if this software cannot serve it.
    """
    read_file = in_store(store, pointer.version)
    fetched = bundle.read(read_file, manifest_sha256=pointer.manifest_sha256)
    _check_version(fetched.manifest, pointer.version)
    return fetched


def in_store(store: Store, version: str) -> ReadFile:
    """Return a function that reads the files of one version's bundle in `store`.

    Raises
    ------
    NotInStore
        If `version` does not have the form of a version.
    """
    if not re.fullmatch(VERSION, version):
        raise NotInStore(
            f"{version!r} is not a version; versions look like 20261124T151011Z-0206d068."
        )

    def read_file(name: str) -> bytes:
        blob = store.read(_key(version, name))
        assert blob is not None  # noqa: S101 - only a conditional read gives None
        return blob.data

    return read_file


def versions(store: Store) -> list[StoredVersion]:
    """List every version in `store`, oldest first, including incomplete ones.

    Raises
    ------
    StoreUnreachable
        If the store does not answer, or denies access.
    """
    names: dict[str, set[str]] = {}
    for key in store.keys("models/"):
        version, separator, name = key.removeprefix("models/").partition("/")
        if separator:
            names.setdefault(version, set()).add(name)
    return [_stored(store, version, found) for version, found in sorted(names.items())]


def _stored(store: Store, version: str, names: set[str]) -> StoredVersion:
    if MANIFEST not in names:
        return StoredVersion(version, None, f"incomplete: no {MANIFEST}")
    try:
        manifest = bundle.parse_manifest(in_store(store, version)(MANIFEST))
        _check_version(manifest, version)
    except StoreUnreachable:
        raise
    except ModelUnavailable as error:
        return StoredVersion(version, None, str(error))
    if missing := ", ".join(sorted(set(manifest.files) - names)):
        return StoredVersion(version, manifest, f"incomplete: no {missing}")
    return StoredVersion(version, manifest, bundle.serving_problem(manifest))


def publish(folder: Path, store: Store) -> Pointer:
    """Upload the bundle in `folder` and promote it, without asking the promotion gate.

    Raises
    ------
    ModelUnavailable
        If the bundle in `folder` is incomplete, or this software cannot serve it.
    Conflict
        If another bundle was promoted at the same time, or another bundle has this version.
    StoreUnreachable
        If the store does not answer, or denies access.
    """
    manifest = upload(folder, store)
    return promote(manifest.version, store, expected=pointer_state(store))


def upload(folder: Path, store: Store) -> Manifest:
    """Copy the bundle in `folder` to `store`, the manifest last, without promoting it.

    Repeating an interrupted upload completes it and replaces damaged files. The manifest of a
    version is never replaced by a different one.

    Raises
    ------
    ModelUnavailable, Conflict, StoreUnreachable
        As for `publish`.
    """
    manifest, files = bundle.contents(bundle.in_folder(folder))
    published = read_or_none(store, _key(manifest.version, MANIFEST))
    if published and published.data != files[MANIFEST]:
        raise Conflict(
            f"{store.address} holds another bundle of version {manifest.version}, and a version"
            " is never overwritten; train again."
        )
    for name, data in files.items():
        put(store, _key(manifest.version, name), data)
    return manifest


def promote(
    version: str, store: Store, *, expected: PointerState, forced: str | None = None
) -> Pointer:
    """Put `version` in service, if the pointer has not changed since `expected` was read.

    All files of the bundle are read and verified before the pointer is written.

    Parameters
    ----------
    version
        A version that was uploaded to `store`.
    expected
        What `pointer_state` returned when the promotion was decided.
    forced
        The reason for overriding the promotion gate, stored in the pointer; None if it passed.

    Raises
    ------
    ModelUnavailable
        If the version is missing or incomplete, if a file does not match its digest, or if this
        software cannot serve it.
    Conflict
        If the pointer has changed.
    StoreUnreachable
        If the store does not answer, or denies access.
    """
    manifest, files = bundle.contents(in_store(store, version))
    _check_version(manifest, version)
    digest = bundle.sha256(files[MANIFEST])
    before = expected.pointer
    if before and (before.version, before.manifest_sha256) == (version, digest):
        return before
    pointer = Pointer(
        version=version,
        manifest_sha256=digest,
        promoted=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        previous=_previous(before, version),
        forced=forced,
    )
    body = pointer.model_dump_json(indent=2).encode() + b"\n"
    store.swap(POINTER, body, expected=expected.etag)
    return pointer


def roll_back(
    store: Store, to: str | None = None, *, check: Callable[[Bundle], object] | None = None
) -> Pointer:
    """Put the previous version, or the version `to`, in service without asking the gate.

    The version that was in service becomes `previous`, so two roll-backs restore the first state.

    Parameters
    ----------
    store
        The store whose pointer is changed.
    to
        The version to put in service; None for the previous one.
    check
        Called with the bundle before the pointer is written; it rejects the bundle by raising.

    Raises
    ------
    NotInStore
        If there is no previous version, or `to` is not in the store.
    ModelUnavailable, Conflict, StoreUnreachable
        As for `promote`.
    """
    seen = pointer_state(store)
    target = to or (seen.pointer.previous if seen.pointer else None)
    if target is None:
        raise NotInStore(
            f"No model was in service in {store.address} before this one; name the version to roll"
            " back to."
        )
    if check is not None:
        check(bundle.read(in_store(store, target)))
    return promote(target, store, expected=seen)


def _previous(before: Pointer | None, version: str) -> str | None:
    """Return the version to roll back to after `version` replaces `before`; never `version`."""
    if before is None:
        return None
    return before.previous if before.version == version else before.version


def _key(version: str, name: str) -> str:
    return f"models/{version}/{name}"


def _parsed(data: bytes) -> Pointer | None:
    try:
        return Pointer.model_validate_json(data)
    except ValidationError:
        return None


def _check_version(manifest: Manifest, version: str) -> None:
    if manifest.version != version:
        raise ModelUnavailable(
            f"The manifest stored under version {version} is of version {manifest.version}; publish"
            " that model again."
        )
