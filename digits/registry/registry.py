"""Where bundles live: a folder or S3. Publish, promote and roll back; read the one in service.

A store holds ``models/<version>/…`` and the pointer ``models/current.json``, which names the
version in service. Files go first, then the manifest, then the pointer, so a reader never meets
half a bundle, and whoever dies on the way leaves the model in service alone. Every write is
conditional on what the writer saw, so of two at once one loses and is told. Whether a model
deserves promotion is `gate`'s business, and how bytes are kept is `object_store`'s.
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
    read_if_there,
)

POINTER = "models/current.json"


class Pointer(BaseModel):
    """`models/current.json`: which version is in service."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    version: Version
    manifest_sha256: Sha256
    promoted: str
    previous: Version | None = None
    forced: str | None = None  # why, where the gate would have refused it

    @model_serializer(mode="wrap")
    def _without_empty_reason(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if self.forced is None:
            del fields["forced"]
        return fields


@dataclass(frozen=True)
class Seen:
    """The pointer as somebody saw it, with the tag that a change of it is conditional on.

    Attributes
    ----------
    pointer
        None if nothing has been promoted yet, or if what is there is no pointer.
    etag
        None if there is no pointer at all.
    """

    pointer: Pointer | None
    etag: str | None


@dataclass(frozen=True)
class Stored:
    """One version in a store; `problem` says why it cannot be served, if it cannot."""

    version: str
    manifest: Manifest | None
    problem: str | None


def current(store: Store, *, unless: str | None = None) -> tuple[Pointer, str] | None:
    """The pointer of `store` and its tag; None if its tag is still `unless`.

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


def look(store: Store) -> Seen:
    """What `store` has in service, to be judged before it is changed.

    Raises
    ------
    StoreUnreachable
        If the store does not answer, or refuses.
    """
    blob = read_if_there(store, POINTER)
    return Seen(_parsed(blob.data), blob.etag) if blob else Seen(None, None)


def fetch(store: Store, pointer: Pointer) -> Bundle:
    """Read and check the served part of the bundle that `pointer` names.

    Raises
    ------
    ModelUnavailable
        If it is missing in part, tampered with, not for this code or not of that version.
    """
    read_file = in_store(store, pointer.version)
    fetched = bundle.read(read_file, manifest_sha256=pointer.manifest_sha256)
    _check_version(fetched.manifest, pointer.version)
    return fetched


def in_store(store: Store, version: str) -> ReadFile:
    """A reader of the files of one version's bundle in `store`.

    Raises
    ------
    NotInStore
        If `version` is not how a version is written.
    """
    if not re.fullmatch(VERSION, version):
        raise NotInStore(f"{version!r} is no version; they look like 20261124T151011Z-0206d068.")

    def read_file(name: str) -> bytes:
        blob = store.read(_key(version, name))
        assert blob is not None  # noqa: S101 - only a conditional read gives None
        return blob.data

    return read_file


def versions(store: Store) -> list[Stored]:
    """Every version in `store`, the oldest first; half-published ones too.

    Raises
    ------
    StoreUnreachable
        If the store does not answer, or refuses.
    """
    names: dict[str, set[str]] = {}
    for key in store.keys("models/"):
        version, separator, name = key.removeprefix("models/").partition("/")
        if separator:
            names.setdefault(version, set()).add(name)
    return [_stored(store, version, found) for version, found in sorted(names.items())]


def _stored(store: Store, version: str, names: set[str]) -> Stored:
    if MANIFEST not in names:
        return Stored(version, None, f"half-published: no {MANIFEST}")
    try:
        manifest = bundle.parse_manifest(in_store(store, version)(MANIFEST))
        _check_version(manifest, version)
    except StoreUnreachable:
        raise
    except ModelUnavailable as error:
        return Stored(version, None, str(error))
    if missing := ", ".join(sorted(set(manifest.files) - names)):
        return Stored(version, manifest, f"incomplete: no {missing}")
    return Stored(version, manifest, bundle.unservable(manifest))


def publish(folder: Path, store: Store) -> Pointer:
    """Upload the bundle in `folder` and promote it, whatever is in service.

    Raises
    ------
    ModelUnavailable
        If the bundle in `folder` is not whole, or this software cannot serve it.
    Conflict
        If another bundle was promoted at the same moment, or another one has this version.
    StoreUnreachable
        If the store does not answer, or refuses.
    """
    manifest = upload(folder, store)
    return promote(manifest.version, store, seen=look(store))


def upload(folder: Path, store: Store) -> Manifest:
    """Copy the bundle in `folder` to `store` and promote nothing: files, then the manifest.

    What an interrupted upload left is completed, and damaged files are mended; a version that has
    its manifest is never given another one.

    Raises
    ------
    ModelUnavailable, Conflict, StoreUnreachable
        As for `publish`.
    """
    manifest, files = bundle.contents(bundle.in_folder(folder))
    published = read_if_there(store, _key(manifest.version, MANIFEST))
    if published and published.data != files[MANIFEST]:
        raise Conflict(
            f"{store.address} holds another bundle of version {manifest.version}, and a version"
            " is never overwritten; train again."
        )
    for name, data in files.items():
        put(store, _key(manifest.version, name), data)
    return manifest


def promote(version: str, store: Store, *, seen: Seen, forced: str | None = None) -> Pointer:
    """Put `version` in service, provided that what was `seen` in service still is.

    The whole bundle is read and checked before the pointer is written.

    Parameters
    ----------
    version
        One that is in `store` already, every file of it.
    seen
        What `look` gave when the decision was taken.
    forced
        Why the gate was overridden, if it was; kept in the pointer.

    Raises
    ------
    ModelUnavailable
        If that version is missing, incomplete or tampered with, or this software cannot serve it.
    Conflict
        If the pointer was moved meanwhile.
    StoreUnreachable
        If the store does not answer, or refuses.
    """
    manifest, files = bundle.contents(in_store(store, version))
    _check_version(manifest, version)
    digest = bundle.sha256(files[MANIFEST])
    before = seen.pointer
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
    store.swap(POINTER, body, expected=seen.etag)
    return pointer


def roll_back(
    store: Store, to: str | None = None, *, check: Callable[[Bundle], object] | None = None
) -> Pointer:
    """Put the previous version in service again, or the one named; the gate has no say.

    The version that is left becomes `previous`, so rolling back twice changes nothing. `check` is
    given the bundle before the pointer is written, and refuses it by what it raises.

    Raises
    ------
    NotInStore
        If there is no previous version, or none of that name.
    ModelUnavailable, Conflict, StoreUnreachable
        As for `promote`: a version that this software cannot serve is refused before the pointer
        is written.
    """
    seen = look(store)
    target = to or (seen.pointer.previous if seen.pointer else None)
    if target is None:
        raise NotInStore(
            f"No model was in service in {store.address} before this one; name the version to go"
            " to."
        )
    if check is not None:
        check(bundle.read(in_store(store, target)))
    return promote(target, store, seen=seen)


def _previous(before: Pointer | None, version: str) -> str | None:
    """What to roll back to after `version` took the place of `before`: never itself."""
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
            f"What is stored as {version} says that it is {manifest.version}; publish it again."
        )
