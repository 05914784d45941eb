"""The HTTP door: API Gateway's events in, results or RFC 9457 problems out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from digits.errors import BadRequest, DigitsError, ImageError
from digits.results import ErrorInfo, Explain, Mode, Result
from lambda_predict import observability, serving
from lambda_predict.config import settings
from lambda_predict.http_request import MAX_RAW_BYTES, NamedImage, choice, flag, read_images
from lambda_predict.observability import logger, metrics
from lambda_predict.schemas import (
    ClassifyResponse,
    Health,
    IdentifiedError,
    IdentifiedResult,
    Problem,
)

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_EXPLAIN: dict[str, Explain | None] = {"true": "frame", "full": "full", "false": None}
_METHODS = {
    "/classify": "POST",
    "/model": "GET",
    "/health": "GET",
    "/openapi.json": "GET",
    "/docs": "GET",
}

app = APIGatewayRestResolver(
    cors=CORSConfig(allow_origin=origin) if (origin := settings().cors_origin) else None
)
models = serving.from_settings()
serving.prime_snapshot(models)


@logger.inject_lambda_context(
    correlation_id_path=correlation_paths.API_GATEWAY_REST, clear_state=True
)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of the REST API."""
    metrics.add_metric("Requests", MetricUnit.Count, 1)
    return app.resolve(event, context)


@app.post("/classify")
def classify() -> Response[str]:
    """Read the digits in one raw image, or in each of several."""
    mode: Mode = "multiple" if flag(app.current_event, "multiple") else "single"
    explain = choice(app.current_event, "explain", _EXPLAIN)
    images = read_images(app.current_event)
    if explain == "full" and not isinstance(images, bytes) and len(images) > 1:
        # The gateway's time and Lambda's 6 MiB of answer hold what one picture may need, not 32.
        raise BadRequest("explain=full takes one image a request; explain=true takes several.")
    classifier = models.classifier()

    def read(data: bytes) -> Result:
        return observability.classify(
            classifier, data, mode=mode, explain=explain, max_bytes=MAX_RAW_BYTES
        )

    if isinstance(images, bytes):
        return _ok(read(images).model_dump_json())
    answers = tuple(_answer(image, read) for image in images)
    return _ok(ClassifyResponse(results=answers).model_dump_json())


@app.get("/model")
def model() -> Response[str]:
    """The manifest of the model in service."""
    return _ok(models.classifier().manifest.to_json().decode())


@app.get("/health")
def health() -> Response[str]:
    """200 once a model is loaded."""
    return _ok(Health(model=models.classifier().manifest.version).model_dump_json())


@app.get("/openapi.json")
def openapi() -> Response[str]:
    """The schema of this API."""
    return _ok(_schema())


@app.get("/docs")
def docs() -> Response[str]:
    """A page to try the API; its scripts come with it, so it works without internet."""
    return Response(200, "text/html; charset=utf-8", _docs_page())


@app.exception_handler(DigitsError)  # type: ignore[untyped-decorator]
def expected(error: DigitsError) -> Response[str]:
    """Turn an expected failure into its problem."""
    return _problem(error.http_status, error.code, str(error))


@app.not_found
def not_found(_: NotFoundError) -> Response[str]:
    """Say that there is no such call, or that it wants another method."""
    if method := _METHODS.get(app.current_event.path):
        return _problem(405, "method_not_allowed", f"This call wants {method}.")
    return _problem(404, "not_found", "There is no such call; GET /docs lists them.")


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def unexpected(_: Exception) -> Response[str]:
    """Log a failure that nobody foresaw; tell the caller no more than its request id."""
    logger.exception("Unexpected failure")
    return _problem(500, "internal_error", "Something went wrong here; try again later.")


def _answer(
    image: NamedImage, read: Callable[[bytes], Result]
) -> IdentifiedResult | IdentifiedError:
    """The answer for one image of several: its error spoils no other."""
    try:
        if isinstance(image.data, BadRequest):
            raise image.data
        result = read(image.data)
    except (ImageError, BadRequest) as error:
        return IdentifiedError(id=image.id, error=ErrorInfo.of(error))
    return IdentifiedResult(id=image.id, **dict(result))


def _ok(body: str) -> Response[str]:
    return Response(200, _JSON, body)


def _problem(status: int, code: str, detail: str) -> Response[str]:
    request_id = app.current_event.request_context.request_id
    problem = Problem.of(status, code, detail, request_id or "")
    return Response(status, _PROBLEM, problem.model_dump_json())


@cache
def _schema() -> str:
    return (Path(__file__).parent / "openapi.json").read_text()


@cache
def _docs_page() -> str:
    from aws_lambda_powertools.event_handler.openapi import swagger_ui  # noqa: PLC0415 - rarely used

    assets = Path(swagger_ui.__file__).parent
    return swagger_ui.generate_swagger_html(
        spec=_schema(),
        swagger_js=(assets / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(assets / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
    )
