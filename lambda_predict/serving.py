"""The model in service: follow the registry's pointer, load and check a new model, then swap."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from aws_lambda_powertools.metrics import MetricUnit
from snapshot_restore_py import register_after_restore

from digits.classifier import Classifier
from digits.errors import ModelUnavailable
from digits.registry import bundle, object_store, registry
from digits.registry.bundle import Bundle
from digits.registry.object_store import NotInStore, Store, StoreUnreachable
from digits.registry.registry import Pointer
from lambda_predict.config import settings
from lambda_predict.observability import logger, metrics


class ModelInService:
    """Provides the classifier of the promoted model, at most `refresh_seconds` behind the pointer.

    Safe to share between threads: one refreshes, the others wait for it.

    Without a registry, or before the first promotion, this is the model that ships with the code. A
    bundle that is broken, incomplete or tampered with is refused, logged and counted, and the
    current model (at first the shipped one) keeps serving. If the registry cannot be reached, the
    current model keeps serving too; before the first model was loaded, this is an error, because
    the shipped model might not be the promoted one.

    Parameters
    ----------
    models
        The registry, or None to serve the shipped model only.
    refresh_seconds
        The time after which the pointer is read again.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        models: Store | None,
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._classifier: Classifier | None = None
        self._etag: str | None = None
        self._looked_at: float | None = None
        self._lock = threading.Lock()

    def classifier(self) -> Classifier:
        """Return the classifier of the model in service.

        Raises
        ------
        StoreUnreachable
            If the pointer has never been read successfully.
        """
        with self._lock:
            if self._classifier is None or self._is_due():
                self._refresh()
            assert self._classifier is not None  # noqa: S101 - `_refresh` sets it or raises
            return self._classifier

    def look_again(self) -> None:
        """Read the pointer before the next answer: a restored snapshot's clock has no meaning."""
        self._looked_at = None

    def close(self) -> None:
        """Close the connections to the registry; the next read of the pointer opens new ones."""
        if self._models is not None:
            self._models.close()

    def _is_due(self) -> bool:
        if self._models is None:
            return False
        return self._looked_at is None or self._clock() - self._looked_at >= self._refresh_seconds

    def _refresh(self) -> None:
        try:
            self._follow_pointer()
        except NotInStore as error:
            self._keep_serving("Nothing is promoted", error, refused=False)
        except StoreUnreachable as error:
            if self._classifier is None:
                raise
            self._keep_serving("The models store cannot be reached", error)
        except ModelUnavailable as error:
            self._keep_serving("The promoted model is refused", error)
        self._looked_at = self._clock()

    def _follow_pointer(self) -> None:
        if self._models is None:
            self._serve_shipped()
            return
        found = registry.current(self._models, unless=self._etag)
        if found is None:
            return
        pointer, etag = found
        if self._classifier is None or pointer.version != self._classifier.manifest.version:
            try:
                self._classifier = Classifier(_promoted(self._models, pointer))
            except NotInStore as error:
                raise ModelUnavailable(f"Model {pointer.version} is incomplete: {error}") from error
            logger.info("Serving a model", model=pointer.version)
        self._etag = etag

    def _keep_serving(self, what: str, error: Exception, *, refused: bool = True) -> None:
        if self._classifier is None:
            self._serve_shipped()
            assert self._classifier is not None  # noqa: S101
        version = self._classifier.manifest.version
        if refused:
            metrics.add_metric("ModelRefreshFailed", MetricUnit.Count, 1)
            logger.error(f"{what}; still serving {version}", reason=str(error))
        else:
            logger.info(f"{what}; serving {version}")

    def _serve_shipped(self) -> None:
        self._classifier = Classifier(bundle.load())


def _promoted(models: Store, pointer: Pointer) -> Bundle:
    """Load the pointer's model; the model that ships with the code needs no download."""
    at_hand = bundle.in_folder(bundle.SHIPPED)
    with suppress(ModelUnavailable):
        shipped = bundle.read(at_hand, manifest_sha256=pointer.manifest_sha256)
        if shipped.manifest.version == pointer.version:
            return shipped
    return registry.fetch(models, pointer)


def from_settings() -> ModelInService:
    """Create the models of the registry that the environment names."""
    address = settings().models
    models = object_store.open_store(address) if address else None
    return ModelInService(models, settings().model_refresh_seconds)


def prime_snapshot(models: ModelInService) -> None:
    """Load the model into a SnapStart snapshot, and read the pointer again after each restore.

    The snapshot holds no open connection: its peer would be gone after a restore.
    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    register_after_restore(models.look_again)
    try:
        models.classifier()
    except StoreUnreachable as error:
        # The first request tries again; an exception here would fail the deployment.
        logger.warning("The snapshot holds no model", reason=str(error))
    finally:
        models.close()
