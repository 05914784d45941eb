"""The backfill worker: label batches of a bucket's objects and count the outcomes.

A state machine (`infra/backfill.asl.json`) reads a bucket's listing or its inventory and calls this
function with batches of objects, several calls at once. Objects whose current version has a label
by the model in service are skipped, so a run that is started again resumes where the earlier one
stopped.

Objects that fail are sent to the labels queue, which retries each by itself and in the end makes it
a dead letter. So no image delays the others, and none is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote_plus

import boto3
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from pydantic import AliasChoices, BaseModel, Field

from digits.classifier import Classifier
from digits.labels.label import Source
from digits.labels.store import LabelStore
from lambda_predict import serving, started
from lambda_predict.config import buckets_and_queue, settings
from lambda_predict.labelling import Labeller
from lambda_predict.labels_queue import send
from lambda_predict.observability import logger, metrics

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

Outcome = Literal["labelled", "skipped", "handed_over"]

_AT_ONCE = 8  # images labelled at once; each mostly waits for S3
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "max_attempts": 3},
    max_pool_connections=_AT_ONCE,
)
# Milliseconds that must be left to begin a new image; the others are sent to the queue.
_ENOUGH_MILLISECONDS = 10_000


class Listed(BaseModel):
    """One object of S3's listing, where Step Functions writes ``Etag``, or of an inventory.

    An inventory writes ``ETag``, and may lack both it and the size.
    """

    key: Annotated[str, Field(alias="Key")]
    etag: Annotated[str | None, Field(validation_alias=AliasChoices("Etag", "ETag"))] = None
    size: Annotated[int | None, Field(alias="Size")] = None


class Item(BaseModel):
    """One object, and the settings of its backfill.

    Attributes
    ----------
    encoded
        Whether keys are percent-encoded, as an inventory has them.
    since
        A label older than this moment (UTC, ISO 8601) is made again; None to keep it.
    """

    listed: Annotated[Listed, Field(alias="Item")]
    encoded: Annotated[bool, Field(alias="Encoded")] = False
    since: Annotated[str | None, Field(alias="Since")] = None

    @property
    def key(self) -> str:
        """The object's key, decoded."""
        return unquote_plus(self.listed.key) if self.encoded else self.listed.key

    @property
    def is_folder(self) -> bool:
        """Whether the listing shows a folder marker."""
        return Source(bucket="", key=self.key, size=self.listed.size).is_folder


class Backfill:
    """Labels the objects of one bucket.

    Parameters
    ----------
    s3, sqs
        The clients. The first must be safe to use from several threads, as boto3's are.
    images, labels
        The buckets.
    queue
        URL of the queue that takes the objects that fail.
    """

    def __init__(
        self, s3: S3Client, sqs: SQSClient, labeller: Labeller, images: str, labels: str, queue: str
    ) -> None:
        self._s3, self._sqs, self._labeller = s3, sqs, labeller
        self._images, self._queue = images, queue
        self._labels = LabelStore(s3, labels)

    def label(
        self,
        items: Sequence[Item],
        model: Callable[[], Classifier],
        is_time_left: Callable[[], bool],
    ) -> dict[str, int]:
        """Label the objects that need it, and count the outcomes; folders are not counted.

        Raises
        ------
        NotSent, ClientError, BotoCoreError
            If the objects that failed could not be sent to the queue either; a retry is safe.
        """

        def outcome(item: Item) -> Outcome | None:
            if not is_time_left():
                return "handed_over"
            logger.thread_safe_append_keys(bucket=self._images, key=item.key)
            try:
                return self._outcome(item, model())
            except Exception:
                logger.exception("Not labelled; the queue tries it again")
                return "handed_over"
            finally:
                logger.thread_safe_clear_keys()

        with ThreadPoolExecutor(_AT_ONCE) as workers:
            outcomes = list(workers.map(outcome, items))
        self.hand_over([i for i, it in zip(items, outcomes, strict=True) if it == "handed_over"])
        return dict(Counter(it for it in outcomes if it is not None))

    def hand_over(self, items: Sequence[Item]) -> None:
        """Send the objects to the labels queue. Raises as `label`."""
        send(self._sqs, self._queue, self._images, [item.key for item in items])

    def _outcome(self, item: Item, classifier: Classifier) -> Outcome | None:
        if item.key.endswith("/") and self._source(item).is_folder:
            self._labeller.reconcile(self._images, item.key, classifier)
            return None
        if self._is_done(item, classifier.model_info.version):
            return "skipped"
        self._labeller.reconcile(self._images, item.key, classifier)
        return "labelled"

    def _is_done(self, item: Item, version: str) -> bool:
        label = self._labels.label(item.key)
        if label is None or label.model is None or label.model.version != version:
            return False
        if label.is_archived:
            return False  # it may have been restored, and the event lost
        if item.since and (label.labelled_at or "") < item.since:
            return False
        return label.is_of(self._source(item))

    def _source(self, item: Item) -> Source:
        """Return the object as listed, with a HEAD request for what an inventory lacks."""
        tag, size = item.listed.etag, item.listed.size
        if tag is None or size is None:
            answer = self._s3.head_object(Bucket=self._images, Key=item.key)
            tag, size = answer["ETag"], answer["ContentLength"]
        return Source(bucket=self._images, key=item.key, etag=tag.strip('"'), size=size)


models = serving.from_settings()
serving.prime_snapshot(models)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Label a batch of objects, or send it to the queue after an earlier call for it crashed.

    `event` is a batch, ``{"Items": [...]}``, or one item; or ``{"HandOver": …}`` with either.
    """
    batch = event.get("HandOver", event)
    items = [Item.model_validate(item) for item in batch.get("Items", [batch])]
    images = [item for item in items if not item.is_folder]
    metrics.add_metric("Backlog", MetricUnit.Count, len(images))
    if batch is event:
        counts = backfill().label(
            items,
            models.classifier,
            lambda: context.get_remaining_time_in_millis() >= _ENOUGH_MILLISECONDS,
        )
    else:
        backfill().hand_over(images)
        counts = {"handed_over": len(images)}
    logger.info("Labelled a part of the backlog", extra=counts)
    return counts


@cache
def backfill() -> Backfill:
    """Create the worker of this process from the environment."""
    images, labels, queue = buckets_and_queue()
    s3 = boto3.client("s3", config=_CONFIG)
    return Backfill(
        s3,
        boto3.client("sqs", config=_CONFIG),
        Labeller(s3, labels, settings().label_mode),
        images,
        labels,
        queue,
    )


started()
