"""Logger and metrics of every function: structured JSON lines and CloudWatch's embedded format.

A log line holds the request's id, the outcome and the duration, and never the image.
Traces come from Lambda's active tracing; each log line carries its trace id, so no SDK is needed.
Service and namespace are Powertools' own environment variables, set in `template.yaml`.

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

from __future__ import annotations

import threading

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from digits.errors import DigitsError
from digits.results import Result
from lambda_predict.config import settings

logger = Logger()
metrics = Metrics()
_counting = threading.Lock()  # Powertools is not thread-safe, and a backfill has several threads


def classified(result: Result, *, decode: float, inference: float, model_age: float) -> None:
    """Log and count one classified image. Safe to call from several threads.

    Parameters
    ----------
    result
        What the classifier returned.
    decode, inference
        Seconds from the file's bytes to pixels, and from pixels to the result.
    model_age
        Seconds since the model in service was created.
    """
    decode_ms, inference_ms = round(decode * 1000, 2), round(inference * 1000, 2)
    with _counting:
        _count_image(model_age)
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


def refused(error: DigitsError, *, model_age: float) -> None:
    """Log and count one image that could not be decoded; otherwise as `classified`."""
    with _counting:
        _count_image(model_age)
        _count_refusal(error)


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
