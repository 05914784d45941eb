"""The S3 interface: queue messages that carry S3 events in, label objects out.

First-time messages come in batches, those that come back one at a time and by a queue of their own
(`template.yaml`), so an image that takes the time or the memory of the whole function does so once
with neighbours and then alone. A small image is waiting for S3 most of its time, so those of a
batch wait together; they are read one at a time (`labelling`).
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

_AT_ONCE = 10  # messages: a batch of the queue's (template.yaml)
# A fault that outlasts these attempts is the queue's to retry.
_S3_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "max_attempts": 3},
    max_pool_connections=_AT_ONCE,
)

_threads = ThreadPoolExecutor(_AT_ONCE)  # each started when it is first needed

# A new image is begun only with this much time left: the largest needs a tenth of it.
_ENOUGH_MILLISECONDS = 10_000


class _Together(BatchProcessor):
    """Begins all records of a batch at once, each in a thread of its own."""

    def process(self) -> list[tuple[Any, ...]]:
        """What became of each record, in their order."""
        return list(_threads.map(self._process_record, self.records))


processor = _Together(EventType.SQS, raise_on_entire_batch_failure=False)
models = serving.from_settings()
serving.prime_snapshot(models)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Label the images that a batch of messages names; report those to be tried again."""
    metrics.add_metric("Batches", MetricUnit.Count, 1)
    return process_partial_response(
        event=event, record_handler=label_images, processor=processor, context=context
    )


class OutOfTime(Exception):
    """The images before this one took the function's time; it is handed back, not begun."""


def label_images(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Label every image that one message names.

    Whatever this raises sends the message back to the queue, and in the end to the dead letters: a
    fault that may pass, and also a message that is no S3 event, which a person should see.
    """
    try:
        if lambda_context.get_remaining_time_in_millis() < _ENOUGH_MILLISECONDS:
            raise OutOfTime("The images before it took the time; it is handed back, not begun.")
        body = record.json_body
        if body.get("Event") == "s3:TestEvent":
            return
        for event in S3Event(body).records:
            bucket, key = event.s3.bucket.name, unquote_plus(event.s3.get_object.key)
            logger.thread_safe_append_keys(bucket=bucket, key=key)
            labeller().reconcile(bucket, key, models.classifier())
    except Exception:
        # With the image's key still in it: `digits labels retry` looks for that.
        logger.exception("Not labelled; the queue hands the message out again")
        raise
    finally:
        logger.thread_safe_clear_keys()


@cache
def labeller() -> Labeller:
    """The labeller of this process, as the environment sets it."""
    bucket = settings().labels_bucket
    if bucket is None:
        raise RuntimeError("DIGITS_LABELS_BUCKET is not set; deploy the function by template.yaml.")
    return Labeller(boto3.client("s3", config=_S3_CONFIG), bucket, settings().label_mode)


started()
