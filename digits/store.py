"""Where bundles live: a folder or S3. Publish one, read the one in service.

A store holds ``models/<version>/…`` and the pointer ``models/current.json``, which names the
version in service. Files go first, then the manifest, then the pointer, so a reader never meets
half a bundle.
boto3 is imported only for an ``s3://`` address.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from digits import bundle
from digits.bundle import MANIFEST, Bundle, ReadFile, Sha256, Version
from digits.errors import Conflict, DigitsError, ModelUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POINTER = "models/current.json"


class StoreUnreachable(ModelUnavailable):
    """The store did not answer or refused: a fault of access, not of what is stored."""


class NotInStore(ModelUnavailable):
    """The store answered that it holds no such object."""


class Pointer(BaseModel):
    """`models/current.json`: which version is in service."""

    model_config = ConfigDict(frozen=True)

    version: Version
    manifest_sha256: Sha256
    promoted: str
    previous: Version | None = None


@dataclass(frozen=True)
class Blob:
    """An object's bytes and the tag that a conditional read or write compares."""

    data: bytes
    etag: str


class Store(Protocol):
    """The few things that a bundle's home must be able to do."""

    address: str

    def read(self, key: str, *, unless: str | None = None) -> Blob | None:
        """Read `key`; None if its tag is still `unless`.

        Raises
        ------
        NotInStore
            If there is no such object.
        StoreUnreachable
            If the store does not answer, or refuses.
        """

    def write(self, key: str, data: bytes) -> None:
        """Write `key`, whatever was there.

        Raises
        ------
        StoreUnreachable
            If the store does not answer, or refuses.
        """

    def swap(self, key: str, data: bytes, *, expected: str | None) -> None:
        """Write `key` if its tag is `expected`, or, for None, if it does not exist.

        Raises
        ------
        Conflict
            If it is not so any more.
        StoreUnreachable
            If the store does not answer, or refuses.
        """


def open_store(address: str) -> Store:
    """The store at `address`: a folder's path or ``s3://bucket[/prefix]``.

    Raises
    ------
    StoreUnreachable
        If the address is not one of these, or names S3 where boto3 is not installed.
    """
    parts = urlsplit(address)
    if parts.scheme == "s3" and parts.netloc:
        return S3Store(parts.netloc, parts.path.strip("/"))
    if "://" in address:
        raise StoreUnreachable(f"{address} is no store; give a folder or s3://bucket[/prefix].")
    return FolderStore(Path(address))


def current(store: Store, *, unless: str | None = None) -> tuple[Pointer, str] | None:
    """The pointer of `store` and its tag; None if its tag is still `unless`.

    Raises
    ------
    NotInStore
        If nothing has been promoted yet.
    ModelUnavailable
        If the pointer is not valid.
    """
    blob = store.read(POINTER, unless=unless)
    if blob is None:
        return None
    try:
        return Pointer.model_validate_json(blob.data), blob.etag
    except ValidationError as error:
        raise ModelUnavailable(
            f"{POINTER} in {store.address} is not a valid pointer; promote a model again."
        ) from error


def fetch(store: Store, pointer: Pointer) -> Bundle:
    """Read and check the served part of the bundle that `pointer` names.

    Raises
    ------
    ModelUnavailable
        If it is missing in part, tampered with or not for this code.
    """
    read_file = in_store(store, pointer.version)
    return bundle.read(read_file, manifest_sha256=pointer.manifest_sha256)


def in_store(store: Store, version: str) -> ReadFile:
    """A reader of the files of one version's bundle in `store`."""

    def read_file(name: str) -> bytes:
        blob = store.read(f"models/{version}/{name}")
        assert blob is not None  # noqa: S101 - only a conditional read gives None
        return blob.data

    return read_file


def publish(folder: Path, store: Store) -> Pointer:
    """Copy the bundle in `folder` to `store` and promote it: files, manifest, pointer.

    Raises
    ------
    ModelUnavailable
        If the bundle in `folder` is not whole.
    Conflict
        If another bundle was promoted at the same moment.
    StoreUnreachable
        If the store does not answer, or refuses.
    """
    manifest = bundle.verify(bundle.in_folder(folder))
    for name in [*manifest.files, MANIFEST]:
        store.write(f"models/{manifest.version}/{name}", (folder / name).read_bytes())
    return _promote(manifest.version, bundle.sha256((folder / MANIFEST).read_bytes()), store)


def _promote(version: str, manifest_sha256: str, store: Store) -> Pointer:
    """Point at `version`, provided that nobody moves the pointer meanwhile."""
    try:
        found = current(store)
    except NotInStore:
        found = None
    if found and found[0].version == version:
        return found[0]
    pointer = Pointer(
        version=version,
        manifest_sha256=manifest_sha256,
        promoted=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        previous=found[0].version if found else None,
    )
    body = pointer.model_dump_json(indent=2).encode() + b"\n"
    store.swap(POINTER, body, expected=found[1] if found else None)
    return pointer


class FolderStore:
    """A store in a local folder. The tag of a file is the SHA-256 of its bytes."""

    def __init__(self, root: Path) -> None:
        self.address = str(root)
        self._root = root

    def read(self, key: str, *, unless: str | None = None) -> Blob | None:
        """See `Store.read`."""
        path = self._root / key
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotInStore(f"There is no {key} in {self.address}.") from error
        except OSError as error:
            raise self._unreachable(error) from error
        etag = bundle.sha256(data)
        return None if etag == unless else Blob(data, etag)

    def write(self, key: str, data: bytes) -> None:
        """See `Store.write`. A reader sees the old file or the new one, never a part."""
        path = self._root / key
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.replace(path)
        except OSError as error:
            raise self._unreachable(error) from error
        finally:
            draft.unlink(missing_ok=True)

    def swap(self, key: str, data: bytes, *, expected: str | None) -> None:
        """See `Store.swap`. A lock beside the file keeps two writers apart."""
        path = self._root / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_name(f".{path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                found = bundle.sha256(path.read_bytes()) if path.exists() else None
                if found != expected:
                    raise Conflict(f"{key} in {self.address} was changed meanwhile; try again.")
                self.write(key, data)
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: OSError) -> StoreUnreachable:
        return StoreUnreachable(
            f"Cannot use {error.filename or self.address}: {error.strerror}; check the folder and"
            " its permissions."
        )


class S3Store:
    """A store in an S3 bucket, below an optional prefix.

    Credentials and region are AWS's own, unless a `client` is given.
    """

    def __init__(self, bucket: str, prefix: str = "", client: S3Client | None = None) -> None:
        try:
            import boto3  # noqa: PLC0415 - only an s3:// address may need it
            import botocore.exceptions  # noqa: PLC0415
        except ImportError as error:
            raise StoreUnreachable(
                "An s3:// address needs boto3; install it with `pip install boto3`."
            ) from error
        self.address = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._errors = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)
        try:
            self._s3: S3Client = client or boto3.client("s3")
        except self._errors as error:
            raise self._translate(error, "") from error

    def read(self, key: str, *, unless: str | None = None) -> Blob | None:
        """See `Store.read`."""
        condition = {"IfNoneMatch": unless} if unless else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + key, **condition)  # type: ignore[arg-type]
            return Blob(answer["Body"].read(), answer["ETag"])
        except self._errors as error:
            if _status(error) == 304:
                return None
            raise self._translate(error, key) from error

    def write(self, key: str, data: bytes) -> None:
        """See `Store.write`."""
        try:
            self._s3.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)
        except self._errors as error:
            raise self._translate(error, key) from error

    def swap(self, key: str, data: bytes, *, expected: str | None) -> None:
        """See `Store.swap`, by S3's conditional writes."""
        condition = {"IfMatch": expected} if expected else {"IfNoneMatch": "*"}
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=data,
                **condition,  # type: ignore[arg-type]
            )
        except self._errors as error:
            raise self._translate(error, key) from error

    def _translate(self, error: Exception, key: str) -> DigitsError:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        if code in ("NoSuchKey", "404"):
            return NotInStore(f"There is no {key} in {self.address}.")
        if _status(error) in (409, 412):
            return Conflict(f"{key} in {self.address} was changed meanwhile; try again.")
        return StoreUnreachable(
            f"Cannot use {self.address} ({code}); check the bucket's name, your credentials and"
            " their permissions."
        )


def _status(error: Exception) -> int | None:
    """The HTTP status behind a botocore error, if an answer came at all."""
    response = getattr(error, "response", {})
    status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status
