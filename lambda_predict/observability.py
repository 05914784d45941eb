"""Logger and metrics of both functions: structured JSON lines and CloudWatch's embedded format.

Traces come from Lambda's active tracing; each log line carries its trace id, so no SDK is needed.
Service and namespace are Powertools' own environment variables, set in `template.yaml`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from digits.errors import DigitsError
from digits.results import Result

logger = Logger()
metrics = Metrics()


def counted(read: Callable[[], Result]) -> Result:
    """Run `read` on one image, and log and count what became of it, an expected error included."""
    started = time.perf_counter()
    try:
        result = read()
    except DigitsError as error:
        _count(started)
        metrics.add_metric("Errors", MetricUnit.Count, 1)
        logger.info("Refused an image", code=error.code)
        raise
    milliseconds = _count(started)
    metrics.add_metric("NeedsReview", MetricUnit.Count, int(result.needs_review))
    logger.info(
        "Read an image",
        text=result.text,
        reason=result.reason,
        model=result.model.version,
        milliseconds=milliseconds,
    )
    return result


def _count(started: float) -> float:
    milliseconds = round((time.perf_counter() - started) * 1000, 2)
    metrics.add_metric("Images", MetricUnit.Count, 1)
    metrics.add_metric("Duration", MetricUnit.Milliseconds, milliseconds)
    return milliseconds
