"""The HTTP interface: answers API Gateway's events with results or RFC 9457 problems."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from digits import image
from digits.errors import BadRequest, DigitsError, ImageError, StorageUnavailable
from digits.results import ErrorInfo, Explain, Mode, Result
from lambda_predict import classification, http_event, serving, started
from lambda_predict.config import settings
from lambda_predict.encoded import decoded
from lambda_predict.http_request import (
    MAX_RAW_BYTES,
    NamedImage,
    choice,
    flag,
    read_images,
    read_json,
)
from lambda_predict.observability import logger, metrics
from lambda_predict.schemas import (
    ClassifyResponse,
    Health,
    IdentifiedError,
    IdentifiedResult,
    Problem,
    UploadRequest,
    Waiting,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from lambda_predict.uploads import Uploads

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_EXPLAIN: dict[str, Explain | None] = {"true": "frame", "full": "full", "false": None}
# Headers of every answer; see https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}
# The page and the schema change only with a deployment: clients may cache them for an hour.
_CACHEABLE = "public, max-age=3600"
_READ = ["GET", "HEAD"]
_RETRY_SECONDS = 2

app = APIGatewayRestResolver(
    cors=CORSConfig(allow_origin=origin, expose_headers=["Retry-After"])
    if (origin := settings().cors_origin)
    else None
)
models = serving.from_settings()
serving.prime_snapshot(models)


@logger.inject_lambda_context(
    correlation_id_path=correlation_paths.API_GATEWAY_REST, clear_state=True
)
def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Answer one request of the REST API, an HTTP API, a load balancer or a function URL."""
    request = http_event.of_rest_api(event)
    if request is None:
        return http_event.no_request(event)
    return http_event.answer_to(event, _resolved(request, context))


@metrics.log_metrics
def _resolved(request: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    metrics.add_metric("Requests", MetricUnit.Count, 1)
    answer = app.resolve(request, context)
    for name, value in _SECURITY_HEADERS.items():
        answer["multiValueHeaders"].setdefault(name, [value])
    if request["httpMethod"] == "HEAD":
        answer["body"] = ""
    return answer


@app.post("/classify")
def classify() -> Response[str]:
    """Classify one raw image, or each of several."""
    mode: Mode = "multiple" if flag(app.current_event, "multiple") else "single"
    explain = choice(app.current_event, "explain", _EXPLAIN)
    images = read_images(app.current_event)
    if explain == "full" and not isinstance(images, bytes) and len(images) > 1:
        # The gateway's time limit and Lambda's 6 MiB of answer suffice for one image, not for 32.
        raise BadRequest("explain=full allows one image a request: send one, or use explain=true.")
    classifier = models.classifier()

    def read(data: bytes) -> Result:
        return classification.classify(
            classifier, data, mode=mode, explain=explain, max_bytes=MAX_RAW_BYTES
        )

    if isinstance(images, bytes):
        return _ok(read(images).model_dump_json())
    answers = tuple(_answer(image, read) for image in images)
    return _ok(ClassifyResponse(results=answers).model_dump_json())


@app.post("/uploads")
def offer_upload() -> Response[str]:
    """Return a presigned URL for a PUT of one image that is too large for a POST."""
    offer = uploads().offer(read_json(app.current_event, UploadRequest))
    return Response(201, _JSON, offer.model_dump_json())


@app.route("/labels/.+", method=_READ)
def label_of_upload() -> Response[str]:
    """Return the label of an uploaded image, or 202 while it waits."""
    label = uploads().label(app.current_event.path_parameters["key"])
    if label is not None:
        return _ok(label)
    headers: dict[str, str | list[str]] = {"Retry-After": str(_RETRY_SECONDS)}
    return Response(202, _JSON, Waiting().model_dump_json(), headers)


@app.post("/feedback")
def feedback() -> Response[str]:
    """Store a correction for review."""
    # Needs boto3, as `uploads` does.
    from lambda_predict.feedback import FeedbackKept, FeedbackRequest, keep  # noqa: PLC0415

    given = read_json(app.current_event, FeedbackRequest)
    client, _, labels_bucket = _storage()
    data = decoded(given.image, "image") if given.image else uploads().image(given.key)
    kept = keep(client, labels_bucket, given, image.decode(data))
    return Response(202, _JSON, FeedbackKept(id=kept.id).model_dump_json())


@app.route("/model", method=_READ)
def model() -> Response[str]:
    """Return the manifest of the model in service."""
    return _ok(models.classifier().manifest.to_json().decode())


@app.route("/health", method=_READ)
def health() -> Response[str]:
    """Return 200 once a model is loaded."""
    return _ok(Health(model=models.classifier().manifest.version).model_dump_json())


@app.route("/openapi.json", method=_READ)
def openapi() -> Response[str]:
    """Return the OpenAPI description."""
    return Response(200, _JSON, _schema(), {"Cache-Control": _CACHEABLE})


@app.route("/docs", method=_READ)
def docs() -> Response[str]:
    """Return a page to try the API; it contains its scripts, so it works without internet."""
    page, policy = _docs_page()
    headers: dict[str, str | list[str]] = {
        "Cache-Control": _CACHEABLE,
        "Content-Security-Policy": policy,
    }
    return Response(200, "text/html; charset=utf-8", page, headers)


@app.exception_handler(DigitsError)  # type: ignore[untyped-decorator]
def expected(error: DigitsError) -> Response[str]:
    """Answer an expected error with its problem."""
    return _problem(error.http_status, error.code, str(error))


@app.not_found
def not_found(_: NotFoundError) -> Response[str]:
    """Answer that there is no such path, or that it needs another method."""
    # Powertools has no public list of its routes.
    routes = app._static_routes + app._dynamic_routes
    methods = {route.method for route in routes if route.rule.match(app.current_event.path)}
    if not methods:
        return _problem(404, "not_found", "There is no such path: GET /docs lists all paths.")
    allow = ", ".join(sorted(methods | {"OPTIONS"}))
    if app.current_event.http_method == "OPTIONS":
        return Response(204, headers={"Allow": allow})
    answer = _problem(
        405,
        "method_not_allowed",
        f"This method is not allowed here: use {' or '.join(sorted(methods))}.",
    )
    answer.headers["Allow"] = allow
    return answer


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def unexpected(_: Exception) -> Response[str]:
    """Log an unexpected failure; give the caller the request id and no details."""
    logger.exception("Unexpected failure")
    return _problem(500, "internal_error", "The service failed unexpectedly: try again later.")


def _answer(
    image: NamedImage, read: Callable[[bytes], Result]
) -> IdentifiedResult | IdentifiedError:
    """Return the answer for one image of several; its error does not affect the others."""
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
def _docs_page() -> tuple[str, str]:
    """Return the page, and the content security policy that allows only its own scripts."""
    from aws_lambda_powertools.event_handler.openapi import swagger_ui  # noqa: PLC0415 - rarely used

    assets = Path(swagger_ui.__file__).parent
    page = swagger_ui.generate_swagger_html(
        spec=_schema(),
        swagger_js=(assets / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(assets / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
    )
    scripts = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(it.encode()).digest()).decode() for it in scripts]
    allowed = " ".join(f"'sha256-{it}'" for it in digests)
    policy = (
        f"default-src 'none'; script-src {allowed};"
        " style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


@cache
def _storage() -> tuple[S3Client, str, str]:
    """Return a client, the images bucket and the labels bucket.

    They are created at first use: classifying a posted image needs none of them.

    Raises
    ------
    StorageUnavailable
        If a bucket is not set.
    """
    images_bucket, labels_bucket = settings().images_bucket, settings().labels_bucket
    if not images_bucket or not labels_bucket:
        raise StorageUnavailable(
            "This service has no buckets to store images in: POST the image to /classify."
        )
    from lambda_predict.uploads import s3_client  # noqa: PLC0415 - imports boto3

    return s3_client(), images_bucket, labels_bucket


@cache
def uploads() -> Uploads:
    """Create the `Uploads` of the environment. Raises `StorageUnavailable`."""
    storage = _storage()
    from lambda_predict.uploads import Uploads  # noqa: PLC0415

    return Uploads(*storage)


started()
