"""The S3 interface: writes labels for queue messages that carry S3 events.

New messages arrive in batches; retried ones arrive singly from a queue of their own
(`template.yaml`). So an image that exhausts the function's time or memory fails once with others
and then alone. A small image mostly waits for S3, so the images of a batch are fetched at once;
they are classified one at a time (`labelling`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

import boto3
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes import S3Event
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from lambda_predict import serving, started
from lambda_predict.config import settings
from lambda_predict.labelling import Labeller
from lambda_predict.observability import logger, metrics

_AT_ONCE = 10  # threads: one for each message of a batch (template.yaml)
# After these attempts the queue retries the message.
_S3_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "max_attempts": 3},
    max_pool_connections=_AT_ONCE,
)

_threads = ThreadPoolExecutor(_AT_ONCE)  # each is started at its first use

# Milliseconds that must be left to begin a new image: the largest needs a tenth of them.
_ENOUGH_MILLISECONDS = 10_000


class _Together(BatchProcessor):
    """Processes all records of a batch at once, each in its own thread."""

    def process(self) -> list[tuple[Any, ...]]:
        """Return the outcome of each record, in their order."""
        return list(_threads.map(self._process_record, self.records))


processor = _Together(EventType.SQS, raise_on_entire_batch_failure=False)
models = serving.from_settings()
serving.prime_snapshot(models)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Label the images that a batch of messages names; return the messages to retry."""
    metrics.add_metric("Batches", MetricUnit.Count, 1)
    return process_partial_response(
        event=event, record_handler=label_images, processor=processor, context=context
    )


class OutOfTime(Exception):
    """Too little time is left for this image: the message returns to the queue."""


def label_images(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Label every image that one message names.

    Every exception returns the message to the queue, and in the end makes it a dead letter: for
    transient failures as for a message that is not an S3 event, which a person should see.
    """
    try:
        if lambda_context.get_remaining_time_in_millis() < _ENOUGH_MILLISECONDS:
            raise OutOfTime(
                "Too little time is left for this image; its message returns to the queue."
            )
        body = record.json_body
        if body.get("Event") == "s3:TestEvent":
            return
        for event in S3Event(body).records:
            bucket, key = event.s3.bucket.name, unquote_plus(event.s3.get_object.key)
            logger.thread_safe_append_keys(bucket=bucket, key=key)
            labeller().reconcile(bucket, key, models.classifier())
    except Exception:
        # The line includes the image's key, which `digits labels retry` searches for.
        logger.exception("Not labelled; the queue hands the message out again")
        raise
    finally:
        logger.thread_safe_clear_keys()


@cache
def labeller() -> Labeller:
    """Create the labeller of this process from the environment."""
    bucket = settings().labels_bucket
    if bucket is None:
        raise RuntimeError(
            "DIGITS_LABELS_BUCKET is not set: deploy the function with template.yaml."
        )
    return Labeller(boto3.client("s3", config=_S3_CONFIG), bucket, settings().label_mode)


started()
