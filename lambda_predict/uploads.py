"""Uploads of photos over the payload limit: presigned addresses for a PUT, and their labels.

A caller can read only the labels of keys in the format of `Uploads.offer`, not of other objects in
the bucket. Such a key is a capability: its id cannot be guessed.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from digits.errors import Archived, NotFound, StorageUnavailable, TooLarge
from digits.image import MAX_BYTES
from digits.labels.label import Written, label_key
from digits.registry.object_store import S3_CLIENT_CONFIG
from lambda_predict.labelling import MODE_METADATA
from lambda_predict.observability import logger
from lambda_predict.schemas import UPLOAD_KEY, Upload, UploadRequest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

EXPIRES = timedelta(minutes=15)
_MAX_NAME = 100


def s3_client() -> S3Client:
    """Create a client whose presigned addresses name the bucket's own region.

    By default botocore signs for the global endpoint, which redirects a PUT to a new bucket of
    another region, and adds checksums that the client would have to compute.
    """
    config = Config(
        **S3_CLIENT_CONFIG,
        signature_version="s3v4",
        s3={"addressing_style": "virtual"},
        request_checksum_calculation="when_required",
    )
    return boto3.client("s3", config=config)


@contextmanager
def storage() -> Iterator[None]:
    """Turn S3's errors into `StorageUnavailable`, without details of the account."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        logger.error("S3 cannot be used", reason=str(error))
        raise StorageUnavailable("The storage is not available: try again later.") from error


class Uploads:
    """Offers addresses for uploads, and returns the labels and bytes of uploaded images.

    Parameters
    ----------
    s3
        The client that signs and reads: see `s3_client`.
    images_bucket, labels_bucket
        The bucket of the uploads, and the bucket of their labels.
    """

    def __init__(self, s3: S3Client, images_bucket: str, labels_bucket: str) -> None:
        self._s3 = s3
        self._images = images_bucket
        self._labels = labels_bucket

    def offer(self, wanted: UploadRequest) -> Upload:
        """Return an address that accepts one PUT of an image within `EXPIRES`.

        The signature covers the number of bytes and `If-None-Match: *`: a client can store neither
        more bytes nor a second object.

        Raises
        ------
        TooLarge
            If the image has more than `MAX_BYTES`.
        StorageUnavailable
            If the address cannot be signed.
        """
        if wanted.size > MAX_BYTES:
            raise _too_large(wanted.size)
        now = datetime.now(timezone.utc)
        key = f"uploads/{now:%Y-%m-%d}/{secrets.token_urlsafe(16)}/{safe_name(wanted.name)}"
        signed: dict[str, Any] = {"Bucket": self._images, "Key": key}
        signed |= {"ContentLength": wanted.size, "IfNoneMatch": "*"}
        headers = {"If-None-Match": "*"}
        if wanted.content_type:
            signed["ContentType"] = headers["Content-Type"] = wanted.content_type
        if wanted.mode:
            signed["Metadata"] = {MODE_METADATA: wanted.mode}
            headers[f"x-amz-meta-{MODE_METADATA}"] = wanted.mode
        with storage():
            url = self._s3.generate_presigned_url(
                "put_object", Params=signed, ExpiresIn=int(EXPIRES.total_seconds())
            )
        return Upload(
            key=key,
            url=url,
            headers=headers,
            expires_at=f"{now + EXPIRES:%Y-%m-%dT%H:%M:%SZ}",
            max_bytes=MAX_BYTES,
        )

    def label(self, given: str) -> str | None:
        """Return the JSON of an uploaded image's label; None while it waits to be labelled.

        Parameters
        ----------
        given
            The image's key from the path, percent-encoded or not.

        Raises
        ------
        NotFound
            If there is no such upload, or no upload yet, or it was deleted.
        StorageUnavailable
            If S3 does not answer, or refuses.
        """
        key = upload_key(given)
        with storage():
            found = self._read(self._labels, label_key(key))
            if found is None and not self._exists(self._images, key):
                raise _no_such_upload()
        if found is None:
            return None
        try:
            gone = Written.model_validate_json(found).deleted
        except ValidationError as error:
            raise StorageUnavailable("The label cannot be read: try again later.") from error
        if gone:
            raise _no_such_upload()
        return found.decode()

    def image(self, given: str) -> bytes:
        """Return the bytes of an uploaded image.

        Raises
        ------
        NotFound
            If there is no such upload.
        TooLarge
            If it has more than `MAX_BYTES`.
        Archived
            If it has to be restored first.
        StorageUnavailable
            If S3 does not answer, or refuses.
        """
        with storage():
            data = self._read(self._images, upload_key(given), MAX_BYTES)
        if data is None:
            raise _no_such_upload()
        return data

    def _read(self, bucket: str, key: str, max_bytes: int | None = None) -> bytes | None:
        """Return the object's bytes; None if it does not exist."""
        # S3 answers a GET of a missing object with 403 unless the caller may list the whole bucket;
        # a permission for one prefix does not count, as a GET has no prefix. So list the key.
        if not self._exists(bucket, key):
            return None
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key)
        except self._s3.exceptions.NoSuchKey:
            return None
        except self._s3.exceptions.InvalidObjectState as error:
            raise Archived("The upload is archived: restore it first.") from error
        with answer["Body"] as body:
            if max_bytes is not None and answer["ContentLength"] > max_bytes:
                raise _too_large(answer["ContentLength"])
            return body.read()

    def _exists(self, bucket: str, key: str) -> bool:
        answer = self._s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        return [item["Key"] for item in answer.get("Contents", [])] == [key]


def upload_key(given: str) -> str:
    """Decode the key of an upload. Raises `NotFound` if `given` is not one.

    A gateway may have decoded the path or not; an upload's key has no character that needs
    encoding, so decoding it again changes nothing.
    """
    key = unquote(given)
    if not re.fullmatch(UPLOAD_KEY, key):
        raise _no_such_upload()
    return key


def safe_name(name: str) -> str:
    """Replace characters of a file's name that need encoding in an address; never empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9._-]+", "_", re.split(r"[/\\]", plain)[-1]).strip("._")
    return words[-_MAX_NAME:].lstrip("._") or "image"


def _too_large(size: int) -> TooLarge:
    return TooLarge(
        f"The upload has {size:,} bytes, but at most {MAX_BYTES:,} are allowed: upload a smaller"
        " picture."
    )


def _no_such_upload() -> NotFound:
    return NotFound("There is no such upload: POST /uploads returns an address for one.")
