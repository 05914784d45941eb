"""From an API Gateway event to the images in it: raw bytes, JSON or multipart.

Powertools' own `decoded_body` decodes to text, which breaks images, so the body is decoded here.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import ValidationError
from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File

from digits.errors import BadRequest, TooLarge, UnsupportedFormat
from lambda_predict.schemas import MAX_IMAGES, ClassifyRequest

# Lambda takes 6 MiB a call, and base64 a third more than the image.
MAX_RAW_BYTES = 4 * 1024 * 1024
MAX_JSON_BYTES = 3_500 * 1024
# curl calls any body that it is given by --data-binary a form.
_RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")


Value = TypeVar("Value")


@dataclass(frozen=True)
class NamedImage:
    """One image of several; `data` is the error if its base64 is broken."""

    id: str
    data: bytes | BadRequest


def read_images(event: APIGatewayProxyEvent) -> bytes | list[NamedImage]:
    """The one raw image of the request, or the several named ones.

    Raises
    ------
    BadRequest
        If the body is empty, or is not what its content type says.
    TooLarge
        If the body as a whole is over the limit of this door.
    UnsupportedFormat
        If the content type is none that this door knows.
    """
    content_type = (event.headers.get("Content-Type") or "").strip()
    media_type = content_type.partition(";")[0].strip().lower()
    body = _body(event)
    if not body:
        raise BadRequest("The body is empty; send the bytes of an image.")
    if media_type == "application/json":
        _check_size(body, MAX_JSON_BYTES)
        return _from_json(body)
    _check_size(body, MAX_RAW_BYTES)
    if media_type == "multipart/form-data":
        return _from_multipart(body, content_type)
    if media_type in _RAW_TYPES or media_type.startswith("image/"):
        return body
    raise UnsupportedFormat(
        f"Content type {media_type[:80]!r} is not supported; send image/*, application/json or"
        " multipart/form-data."
    )


def flag(event: APIGatewayProxyEvent, name: str) -> bool:
    """The query's boolean `name`, false if absent.

    Raises
    ------
    BadRequest
        If it is neither ``true`` nor ``false``.
    """
    return choice(event, name, {"true": True, "false": False})


def choice(event: APIGatewayProxyEvent, name: str, values: Mapping[str, Value]) -> Value:
    """What the query's `name` stands for in `values`, which must know ``false``: it is the default.

    Raises
    ------
    BadRequest
        If it is none of them.
    """
    value = (event.query_string_parameters or {}).get(name, "false").lower()
    if value not in values:
        *others, last = values
        raise BadRequest(f"The query's {name!r} must be {', '.join(others)} or {last}.")
    return values[value]


def _body(event: APIGatewayProxyEvent) -> bytes:
    text = event.body or ""
    if not event.is_base64_encoded:
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadRequest("The body is not valid base64.") from error


def _check_size(body: bytes, limit: int) -> None:
    if len(body) > limit:
        raise TooLarge(
            f"The request has {len(body):,} bytes, but at most {limit:,} are taken over HTTP; send"
            " a smaller picture, or put it in the images bucket."
        )


def _from_json(body: bytes) -> list[NamedImage]:
    try:
        request = ClassifyRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadRequest(
            f"The JSON is not as expected ({field}: {first['msg']}); send"
            ' {"images": [{"id": "a", "data": "<base64>"}]} with 1 to'
            f" {MAX_IMAGES} images."
        ) from error
    return [NamedImage(item.id, _decoded(item.data)) for item in request.images]


def _decoded(text: str) -> bytes | BadRequest:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return BadRequest("`data` is not valid base64.")


def _from_multipart(body: bytes, content_type: str) -> list[NamedImage]:
    images: list[NamedImage] = []

    def keep(file: File) -> None:
        file.file_object.seek(0)
        name = (file.file_name or file.field_name or b"").decode("utf-8", "replace")
        images.append(NamedImage(name, file.file_object.read()))

    headers = {"Content-Type": content_type.encode("latin-1", "replace")}
    try:
        parse_form(headers, io.BytesIO(body), on_field=None, on_file=keep)
    except (FormParserError, ValueError) as error:
        raise BadRequest("The body is not valid multipart/form-data.") from error
    if not 1 <= len(images) <= MAX_IMAGES:
        raise BadRequest(f"Send 1 to {MAX_IMAGES} files; {len(images)} were found in the form.")
    return images
