"""The OpenAPI 3.1 description of the HTTP API, generated from the pydantic models of the answers.

The functions answer with exactly the fields and values that the models declare. The description
allows more, so that clients generated from it accept answers of later versions: see `_growing`.

The API serves `openapi.json` beside this file; a test checks that it is this module's output.

    python -m lambda_predict.openapi > lambda_predict/openapi.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from digits.errors import DigitsError
from digits.explain import MOST
from digits.labels.label import ErrorLabel, ImageLabel
from digits.registry.bundle import Manifest
from digits.results import Result
from lambda_predict.feedback import FeedbackKept, FeedbackRequest
from lambda_predict.schemas import (
    UPLOAD_KEY,
    ClassifyRequest,
    ClassifyResponse,
    Health,
    Problem,
    Upload,
    UploadRequest,
    Waiting,
)

_REQUESTS = (ClassifyRequest, UploadRequest, FeedbackRequest)
_RESPONSES = (
    *(ClassifyResponse, Result, Health, Manifest, Problem),
    *(Upload, ImageLabel, ErrorLabel, Waiting, FeedbackKept),
)
_DESCRIPTION = """Send images of handwritten digits, get the digits.

Answers grow in minor versions: objects gain fields, and values marked `x-extensible-enum`, such as
`reason` and `code`, gain others beside those listed. Ignore fields that you do not know, and treat
an unknown `reason` as any other reason for review. Existing names keep their meaning.

Requests are strict: an unknown field of a JSON body is a `bad_request`."""
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
# Answers beside the typed errors, most of them by the gateway itself.
_OTHER_ERRORS = {
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    429: "throttled",
    500: "internal_error",
    504: "timeout",
}


def document() -> dict[str, Any]:
    """Build the description, ready for `json.dumps`."""
    schemas = _growing(_definitions(_RESPONSES, "serialization"))
    for name in ("ErrorInfo", "Problem"):
        schemas[name]["properties"]["code"]["x-extensible-enum"] = every_code()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Handwritten digits",
            "version": "1",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],
        "security": [{"key": []}],
        "paths": {
            "/classify": {"post": _classify()},
            "/uploads": {"post": _uploads()},
            "/labels/{key}": {"get": _label()},
            "/feedback": {"post": _feedback()},
            "/model": {
                "get": _get("model", "Manifest of the model in service", _json("Manifest"), 403)
            },
            "/health": {
                "get": _get("health", "200 once a model is loaded", _json("Health"), free=True)
            },
            "/openapi.json": {
                "get": _get(
                    "openapi",
                    "This description",
                    {"application/json": {"schema": {"type": "object"}}},
                    free=True,
                )
            },
            "/docs": {
                "get": _get(
                    "docs",
                    "A page to try the API",
                    {"text/html": {"schema": {"type": "string"}}},
                    free=True,
                )
            },
        },
        "components": {
            "schemas": schemas | _definitions(_REQUESTS, "validation"),
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }


def _definitions(models: Iterable[type[BaseModel]], mode: JsonSchemaMode) -> dict[str, Any]:
    """Build the schemas of models and of the models in their fields, by name."""
    _, schemas = models_json_schema(
        [(model, mode) for model in models], ref_template="#/components/schemas/{model}"
    )
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions


def _growing(schema: Any) -> Any:
    """Open the schema of an answer to fields and values that later versions add.

    An enumeration becomes a plain type with the extension ``x-extensible-enum``, which validators
    and generators of clients that do not know it ignore:
    https://opensource.zalando.com/restful-api-guidelines/#112
    """
    if isinstance(schema, list):
        return [_growing(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    grown = {
        name: _growing(value) for name, value in schema.items() if name != "additionalProperties"
    }
    if isinstance(schema.get("additionalProperties"), dict):  # the values of a map
        grown["additionalProperties"] = _growing(schema["additionalProperties"])
    if isinstance(schema.get("const"), (str, int)) and not isinstance(schema["const"], bool):
        grown["x-extensible-enum"] = [grown.pop("const")]
    if isinstance(schema.get("enum"), list):
        grown["x-extensible-enum"] = grown.pop("enum")
    return grown


def every_code() -> list[str]:
    """List every error code of the API."""
    return sorted({*_OTHER_ERRORS.values(), *(error.code for error in _all_errors(DigitsError))})


def _classify() -> dict[str, Any]:
    form = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": _BINARY["schema"], "minItems": 1}},
        "required": ["file"],
    }
    return {
        "operationId": "classify",
        "summary": "Read the digits in one image or in several",
        "parameters": [
            _query(
                "multiple",
                "Read every digit, in reading order, instead of one digit.",
                {"type": "boolean", "default": False},
            ),
            _query(
                "explain",
                "With `true`, add to each digit the 28×28 frame that the classifier was given. With"
                " `full`, for one image, also add the saliency map and the feature maps of the"
                f" first layers, for the first {MOST} digits.",
                {"type": "string", "enum": ["true", "full", "false"], "default": "false"},
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": _BINARY,
                "application/octet-stream": _BINARY,
                "multipart/form-data": {"schema": form},
                "application/json": _schema("ClassifyRequest")
                | {"example": {"images": [{"id": "a", "data": "iVBORw0KGgo="}]}},
            },
        },
        "responses": {
            "200": {
                "description": "A result for raw bytes; a list of them for JSON and multipart",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [
                                _schema("Result")["schema"],
                                _schema("ClassifyResponse")["schema"],
                            ]
                        }
                    }
                },
            },
            **_problems(400, 403, 405, 413, 415, 422, 429, 500, 503, 504),
        },
    }


def _uploads() -> dict[str, Any]:
    return {
        "operationId": "offerUpload",
        "summary": "Get an address for the PUT of an image that is too large for a POST",
        "description": "PUT the image's bytes to `url` with the given `headers`."
        " `GET /labels/{key}` returns its label. Uploads and their labels are deleted after 30"
        " days.",
        "requestBody": {"required": True, "content": _json("UploadRequest")},
        "responses": {
            "201": {
                "description": "The address for the PUT",
                "content": _json("Upload"),
                "links": {
                    "label": {"operationId": "label", "parameters": {"key": "$response.body#/key"}}
                },
            },
            **_problems(400, 403, 405, 413, 415, 429, 500, 503, 504),
        },
    }


def _label() -> dict[str, Any]:
    return {
        "operationId": "label",
        "summary": "Get the label of an uploaded image",
        "parameters": [
            {
                "name": "key",
                "in": "path",
                "required": True,
                "description": "The `key` that `POST /uploads` returned; its slashes may be encoded"
                " or not.",
                "schema": {"type": "string", "pattern": UPLOAD_KEY},
            }
        ],
        "responses": {
            "200": {
                "description": "The label: a result, or the error of the image",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [
                                _schema("ImageLabel")["schema"],
                                _schema("ErrorLabel")["schema"],
                            ]
                        }
                    }
                },
            },
            "202": {
                "description": "The image is stored, but not labelled yet",
                "headers": {
                    "Retry-After": {
                        "description": "Seconds to wait before asking again",
                        "schema": {"type": "integer"},
                    }
                },
                "content": _json("Waiting"),
            },
            **_problems(403, 404, 405, 429, 500, 503, 504),
        },
    }


def _feedback() -> dict[str, Any]:
    return {
        "operationId": "feedback",
        "summary": "Submit a correction",
        "description": "The image is stored without its metadata, for review by a person.",
        "requestBody": {"required": True, "content": _json("FeedbackRequest")},
        "responses": {
            "202": {"description": "Kept", "content": _json("FeedbackKept")},
            **_problems(400, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503, 504),
        },
    }


def _get(
    name: str, summary: str, content: dict[str, Any], *errors: int, free: bool = False
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": content},
            **_problems(*errors, 405, 429, 500, 503, 504),
        },
    }
    return operation | ({"security": []} if free else {})


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _schema(model: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{model}"}}


def _json(model: str) -> dict[str, Any]:
    return {"application/json": _schema(model)}


def _problems(*statuses: int) -> dict[str, Any]:
    """Build the responses in RFC 9457's format; each lists the error codes of its status."""
    codes: dict[int, list[str]] = {status: [code] for status, code in _OTHER_ERRORS.items()}
    for error in _all_errors(DigitsError):
        known = codes.setdefault(error.http_status, [])
        if error.code not in known:
            known.append(error.code)
    content = {"application/problem+json": _schema("Problem")}
    return {
        str(status): {
            "description": " or ".join(f"`{code}`" for code in codes[status]),
            "content": content,
            **({"headers": {"Allow": {"schema": {"type": "string"}}}} if status == 405 else {}),
        }
        for status in sorted(statuses)
    }


def _all_errors(base: type[DigitsError]) -> list[type[DigitsError]]:
    """List the errors of `digits.errors` that have a code.

    Other modules define errors that the API never answers with, and that exist only once the module
    is imported.
    """
    below = [error for child in base.__subclasses__() for error in _all_errors(child)]
    own = hasattr(base, "code") and base.__module__ == DigitsError.__module__
    return ([base] if own else []) + below


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
