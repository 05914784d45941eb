"""Logger and metrics of every function: structured JSON lines and CloudWatch's embedded format.

A log line holds the request's id, the outcome and the duration, and never the image.
Traces come from Lambda's active tracing; each log line carries its trace id, so no SDK is needed.
Service and namespace are Powertools' own environment variables, set in `template.yaml`.
"""

from __future__ import annotations

import threading
import time

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from digits import image
from digits.classifier import Classifier
from digits.errors import DigitsError
from digits.results import Explain, Mode, Result
from lambda_predict.config import settings

logger = Logger()
metrics = Metrics()
_counting = threading.Lock()  # Powertools is not thread-safe, and a backfill has several threads


def classify(
    classifier: Classifier,
    data: bytes,
    *,
    mode: Mode,
    explain: Explain | None = None,
    max_bytes: int = image.MAX_BYTES,
) -> Result:
    """Call `Classifier.classify`; log and count the outcome, errors included.

    ===============  ======================================================================
    Images           classified or refused
    Errors           refused images, in total and (in a second dimension) by error code
    NeedsReview      results that a person should review
    Confidence       of the least certain digit, 0 to 1
    Digit0 … Digit9  digits of each kind in results that need no review;
                     only with ``DIGITS_DIGIT_METRICS``
    DecodeTime       milliseconds from bytes to pixels
    InferenceTime    milliseconds from pixels to result
    ModelAge         seconds since the model in service was created
    ===============  ======================================================================
    """
    age = classifier.manifest.age.total_seconds()
    started = time.perf_counter()
    try:
        picture = image.decode(data, max_bytes=max_bytes)
    except DigitsError as error:
        with _counting:
            _count_image(age)
            _count_refusal(error)
        raise
    decoded = time.perf_counter()
    result = classifier.read(picture, mode=mode, explain=explain)
    answered = time.perf_counter()
    decode_ms, inference_ms = _milliseconds(started, decoded), _milliseconds(decoded, answered)
    with _counting:
        _count_image(age)
        metrics.add_metric("DecodeTime", MetricUnit.Milliseconds, decode_ms)
        metrics.add_metric("InferenceTime", MetricUnit.Milliseconds, inference_ms)
        _count_answer(result)
    logger.info(
        "Read an image",
        text=result.text,
        reason=result.reason,
        model=result.model.version,
        milliseconds=round(decode_ms + inference_ms, 2),
    )
    return result


def _count_image(model_age: float) -> None:
    metrics.add_metric("Images", MetricUnit.Count, 1)
    metrics.add_metric("ModelAge", MetricUnit.Seconds, model_age)


def _count_refusal(error: DigitsError) -> None:
    metrics.add_metric("Errors", MetricUnit.Count, 1)
    with single_metric(
        "Errors", MetricUnit.Count, 1, default_dimensions={"service": metrics.service or ""}
    ) as by_code:
        by_code.add_dimension("code", error.code)
    logger.info("Refused an image", code=error.code)


def _count_answer(result: Result) -> None:
    metrics.add_metric("NeedsReview", MetricUnit.Count, int(result.needs_review))
    if result.digits:
        least = min(digit.confidence for digit in result.digits)
        metrics.add_metric("Confidence", MetricUnit.NoUnit, least)
    if not settings().digit_metrics:
        return
    for digit in result.digits:
        if not digit.needs_review:
            metrics.add_metric(f"Digit{digit.digit}", MetricUnit.Count, 1)


def _milliseconds(since: float, until: float) -> float:
    return round((until - since) * 1000, 2)
