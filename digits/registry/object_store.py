"""Where bytes are kept under keys: a folder or S3, with writes conditional on what was read.

What the keys mean is `registry`'s business. botocore is imported only for an ``s3://`` address.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from digits.errors import Conflict, DigitsError, ModelUnavailable
from digits.registry.bundle import sha256

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Of S3: a function must know within its own time limit that there is no model to be had.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": {"mode": "standard", "max_attempts": 3},
}


class StoreUnreachable(ModelUnavailable):
    """The store did not answer or refused: a fault of access, not of what is stored."""


class NotInStore(ModelUnavailable):
    """The store answered that it holds no such object."""


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

    def swap(self, key: str, data: bytes, *, expected: str | None) -> None:
        """Write `key` if its tag is `expected`, or, for None, if it does not exist.

        Raises
        ------
        Conflict
            If it is not so any more.
        StoreUnreachable
            If the store does not answer, or refuses.
        """

    def keys(self, prefix: str) -> list[str]:
        """The keys that start with `prefix`, sorted.

        Raises
        ------
        StoreUnreachable
            If the store does not answer, or refuses.
        """

    def close(self) -> None:
        """Close the connections that are open; the next call opens its own."""


def open_store(address: str) -> Store:
    """The store at `address`: a folder's path or ``s3://bucket[/prefix]``.

    Raises
    ------
    StoreUnreachable
        If the address is not one of these, or names S3 where boto3 is not installed.
    """
    scheme, separator, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return S3Store(bucket, prefix.strip("/"))
    if (separator and len(scheme) > 1) or not address:  # one letter is a drive of Windows
        raise StoreUnreachable(
            f"{address or 'An empty name'} is no store; give a folder or s3://bucket[/prefix]."
        )
    return FolderStore(Path(address))


def read_if_there(store: Store, key: str) -> Blob | None:
    """What `store` holds under `key`; None if nothing. Raises `StoreUnreachable`."""
    try:
        return store.read(key)
    except NotInStore:
        return None


def put(store: Store, key: str, data: bytes) -> None:
    """Write `key`, unless it holds these bytes already. Raises `Conflict`, `StoreUnreachable`."""
    try:
        store.swap(key, data, expected=None)
    except Conflict:
        found = read_if_there(store, key)
        if found is None or found.data != data:
            store.swap(key, data, expected=found.etag if found else None)


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
        etag = sha256(data)
        return None if etag == unless else Blob(data, etag)

    def swap(self, key: str, data: bytes, *, expected: str | None) -> None:
        """See `Store.swap`. A reader sees the old file or the new one, never a part."""
        path = self._root / key
        try:
            with self._locked() as draft:
                found = sha256(path.read_bytes()) if path.exists() else None
                if found != expected:
                    raise _changed(key, self.address)
                path.parent.mkdir(parents=True, exist_ok=True)
                with draft.open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                draft.replace(path)
        except OSError as error:
            raise self._unreachable(error) from error

    def keys(self, prefix: str) -> list[str]:
        """See `Store.keys`; hidden files are this class's own."""
        try:
            below = (self._root / prefix.rpartition("/")[0]).rglob("*")
            files = [path for path in below if path.is_file()]
        except OSError as error:
            raise self._unreachable(error) from error
        names = (path.relative_to(self._root).as_posix() for path in files)
        return sorted(name for name in names if name.startswith(prefix) and "/." not in f"/{name}")

    def close(self) -> None:
        """See `Store.close`; there are none."""

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Keep other writers out, and give the file to draft in.

        There is only one, so what a killed writer left of its draft is the next one's.
        """
        from filelock import FileLock  # noqa: PLC0415 - functions have no folder to write to

        models = self._root / "models"
        models.mkdir(parents=True, exist_ok=True)
        draft = models / ".draft"
        with FileLock(models / ".lock"):
            try:
                yield draft
            finally:
                draft.unlink(missing_ok=True)

    def _unreachable(self, error: OSError) -> StoreUnreachable:
        return StoreUnreachable(
            f"Cannot use {error.filename or self.address}: {error.strerror}; check the folder, its"
            " permissions and its disk."
        )


class S3Store:
    """A store in an S3 bucket, below an optional prefix.

    Credentials and region are AWS's own, unless a `client` is given.
    """

    def __init__(self, bucket: str, prefix: str = "", client: S3Client | None = None) -> None:
        try:
            # Only an s3:// address may need it. boto3 makes the same client, but first imports what
            # a store never calls: a seventh of the time that a start takes for AWS.
            import botocore.config  # noqa: PLC0415
            import botocore.exceptions  # noqa: PLC0415
            import botocore.session  # noqa: PLC0415
        except ImportError as error:
            raise StoreUnreachable(
                "An s3:// address needs boto3; install it with `pip install boto3`."
            ) from error
        self.address = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._errors = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)
        try:
            config = botocore.config.Config(**PATIENCE)
            session: Any = botocore.session.get_session()
            self._s3: S3Client = client or session.create_client("s3", config=config)
        except self._errors as error:
            raise self._translate(error, "") from error
        except ValueError as error:  # an endpoint, or a place for credentials, that cannot be one
            raise StoreUnreachable(f"Cannot use {self.address}: {error}") from error

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
            failure = self._translate(error, key)
            if not isinstance(failure, (Conflict, NotInStore)):
                raise failure from error
            # Where the answer to a write was lost, boto3 writes again and meets its own first try.
            found = read_if_there(self, key)
            if found is None or found.data != data:
                raise _changed(key, self.address) from error

    def keys(self, prefix: str) -> list[str]:
        """See `Store.keys`."""
        paginator = self._s3.get_paginator("list_objects_v2")
        try:
            pages = paginator.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
            found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        except self._errors as error:
            raise self._translate(error, prefix) from error
        return sorted(key.removeprefix(self._prefix) for key in found)

    def close(self) -> None:
        """See `Store.close`."""
        self._s3.close()

    def _translate(self, error: Exception, key: str) -> DigitsError:
        code = _answer(error).get("Error", {}).get("Code", type(error).__name__)
        if code in ("NoSuchKey", "404"):
            return NotInStore(f"There is no {key} in {self.address}.")
        if _status(error) in (409, 412):
            return _changed(key, self.address)
        return StoreUnreachable(
            f"Cannot use {self.address} ({code}); check the bucket's name, your credentials and"
            " their permissions."
        )


def _changed(key: str, address: str) -> Conflict:
    return Conflict(f"{key} in {address} was changed meanwhile; look again and try again.")


def _status(error: Exception) -> int | None:
    """The HTTP status behind a botocore error, if an answer came at all."""
    status: int | None = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def _answer(error: Exception) -> dict[str, Any]:
    """What S3 answered; nothing, where the connection failed before or in the middle of it."""
    return getattr(error, "response", None) or {}
