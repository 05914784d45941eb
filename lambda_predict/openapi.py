"""The OpenAPI 3.1 description of the HTTP API, made from the same pydantic models that answer.

`openapi.json` beside this file is what is served; a test says when it is not this module's output.

    python -m lambda_predict.openapi > lambda_predict/openapi.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import models_json_schema

from digits.bundle import Manifest
from digits.errors import DigitsError
from digits.explain import MOST
from digits.results import Result
from lambda_predict.schemas import ClassifyRequest, ClassifyResponse, Health, Problem

_MODELS = (ClassifyRequest, ClassifyResponse, Health, Manifest, Problem, Result)
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
# What the gateway answers by itself, beside the errors that are ours.
_GATEWAY_ERRORS = {
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    429: "throttled",
    504: "timeout",
}


def document() -> dict[str, Any]:
    """The whole description, ready for `json.dumps`."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in _MODELS],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Handwritten digits",
            "version": "1",
            "description": "Send pictures of handwritten digits, get the digits.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],
        "security": [{"key": []}],
        "paths": {
            "/classify": {"post": _classify()},
            "/model": {
                "get": _get("Manifest of the model in service", "Manifest", 403, 405, 429, 503)
            },
            "/health": {"get": _get("200 once a model is loaded", "Health", 405, 503, free=True)},
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }


def _classify() -> dict[str, Any]:
    form = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
    return {
        "operationId": "classify",
        "summary": "Read the digits in one image or in several",
        "parameters": [
            _query(
                "multiple",
                "Read every digit, in reading order, instead of the one.",
                {"type": "boolean", "default": False},
            ),
            _query(
                "explain",
                "Add to each digit, with `true`, the 28×28 frame that the network was shown; with"
                " `full`, for one image, also what mattered in it and what the first layers made of"
                f" it, for its first {MOST} digits.",
                {"type": "string", "enum": ["true", "full", "false"], "default": "false"},
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": _BINARY,
                "application/octet-stream": _BINARY,
                "multipart/form-data": {"schema": form},
                "application/json": _schema("ClassifyRequest"),
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
            **_problems(400, 403, 405, 413, 415, 422, 429, 503, 504),
        },
    }


def _get(summary: str, model: str, *errors: int, free: bool = False) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": model.lower(),
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {"application/json": _schema(model)}},
            **_problems(*errors),
        },
    }
    return operation | ({"security": []} if free else {})


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _schema(model: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{model}"}}


def _problems(*statuses: int) -> dict[str, Any]:
    codes = _GATEWAY_ERRORS | {error.http_status: error.code for error in _all_errors(DigitsError)}
    content = {"application/problem+json": _schema("Problem")}
    return {
        str(status): {"description": f"`{codes[status]}`", "content": content}
        for status in statuses
    }


def _all_errors(base: type[DigitsError]) -> list[type[DigitsError]]:
    below = [error for child in base.__subclasses__() for error in _all_errors(child)]
    return ([base] if hasattr(base, "code") else []) + below


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
