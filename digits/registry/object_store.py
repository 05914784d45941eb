"""The object store: bytes under keys in a folder or in S3, with conditional writes.

`registry` decides what the keys mean. botocore is imported only for an ``s3://`` address.
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

# Timeouts in seconds, and attempts, of S3 clients. Chosen so that a Lambda function learns within
# its own timeout that S3 does not answer; botocore's default of 60 s is longer than that.
S3_CLIENT_CONFIG: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": {"mode": "standard", "max_attempts": 3},
}


class StoreUnreachable(ModelUnavailable):
    """The store cannot be reached or denied access; nothing is known about its objects."""


class NotInStore(ModelUnavailable):
    """The store was reached and holds no object of that key."""


@dataclass(frozen=True)
class Blob:
    """An object's bytes, and the entity tag that conditional reads and writes compare."""

    data: bytes
    etag: str


class Store(Protocol):
    """The operations that the model registry needs: read, compare-and-swap and list."""

    address: str

    def read(self, key: str, *, unless: str | None = None) -> Blob | None:
        """Read the object `key`; return None if its tag equals `unless`.

        Raises
        ------
        NotInStore
            If there is no such object.
        StoreUnreachable
            If the store does not answer, or denies access.
        """

    def swap(self, key: str, data: bytes, *, expected: str | None) -> None:
        """Write the object `key` if its tag is `expected`; for None, if it does not exist.

        Raises
        ------
        Conflict
            If the object has another tag, exists, or no longer exists.
        StoreUnreachable
            If the store does not answer, or denies access.
        """

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that start with `prefix`, sorted.

        Raises
        ------
        StoreUnreachable
            If the store does not answer, or denies access.
        """

    def close(self) -> None:
        """Close open connections; the next call opens new ones."""


def open_store(address: str) -> Store:
    """Open the store at `address`: a folder's path or ``s3://bucket[/prefix]``.

    Raises
    ------
    StoreUnreachable
        If the address has another form, or names S3 and boto3 is not installed.
    """
    scheme, separator, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return S3Store(bucket, prefix.strip("/"))
    if (separator and len(scheme) > 1) or not address:  # a single letter is a Windows drive
        raise StoreUnreachable(
            f"{address or 'An empty name'} is not the address of a store; give a folder or"
            " s3://bucket[/prefix]."
        )
    return FolderStore(Path(address))


def read_or_none(store: Store, key: str) -> Blob | None:
    """Read the object `key`; return None if it does not exist. Raises `StoreUnreachable`."""
    try:
        return store.read(key)
    except NotInStore:
        return None


def put(store: Store, key: str, data: bytes) -> None:
    """Write the object `key`, replacing any earlier one; equal bytes are not written again.

    Raises
    ------
    Conflict
        If another writer changed the object at the same time.
    StoreUnreachable
        If the store does not answer, or denies access.
    """
    try:
        store.swap(key, data, expected=None)
    except Conflict:
        found = read_or_none(store, key)
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
        """See `Store.swap`. Readers see the old or the new file, because it is renamed in place."""
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
        """See `Store.keys`. Hidden files are left out: the lock file and the draft are hidden."""
        try:
            below = (self._root / prefix.rpartition("/")[0]).rglob("*")
            files = [path for path in below if path.is_file()]
        except OSError as error:
            raise self._unreachable(error) from error
        names = (path.relative_to(self._root).as_posix() for path in files)
        return sorted(name for name in names if name.startswith(prefix) and "/." not in f"/{name}")

    def close(self) -> None:
        """Do nothing: a folder has no connections. See `Store.close`."""

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Hold the store's write lock, and yield the path of the draft to write before renaming.

        All writers use the same draft, so a killed writer's draft is overwritten by the next one.
        """
        from filelock import FileLock  # noqa: PLC0415 - Lambda functions never write to a folder

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

    Without `client`, credentials and region come from AWS's default providers.
    """

    def __init__(self, bucket: str, prefix: str = "", client: S3Client | None = None) -> None:
        try:
            # Imported here, because folder stores do not need them. boto3 would return the same
            # client, but its import takes longer: a seventh of the time to start an S3 store.
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
            config = botocore.config.Config(**S3_CLIENT_CONFIG)
            session: Any = botocore.session.get_session()
            self._s3: S3Client = client or session.create_client("s3", config=config)
        except self._errors as error:
            raise self._translate(error, "") from error
        except ValueError as error:  # the endpoint or a credentials setting is malformed
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
        """See `Store.swap`. Uses S3's conditional writes."""
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
            # If the response to a write is lost, botocore retries it and the retry fails with a
            # conflict, although the first attempt succeeded.
            found = read_or_none(self, key)
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
    return Conflict(
        f"{key} in {address} was changed by another writer; check its state and try again."
    )


def _status(error: Exception) -> int | None:
    """Return the HTTP status of a botocore error; None if there was no response."""
    status: int | None = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def _answer(error: Exception) -> dict[str, Any]:
    """Return S3's response to the failed call; empty if the connection failed."""
    return getattr(error, "response", None) or {}
