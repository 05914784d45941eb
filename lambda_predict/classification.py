"""Classify one image and report what it took: what the HTTP API and the labels function share."""

from __future__ import annotations

import time

from digits import image
from digits.classifier import Classifier
from digits.errors import DigitsError
from digits.results import Explain, Mode, Result
from lambda_predict import observability


def classify(
    classifier: Classifier,
    data: bytes,
    *,
    mode: Mode,
    explain: Explain | None = None,
    max_bytes: int = image.MAX_BYTES,
) -> Result:
    """Call `Classifier.classify`; log and count the outcome, errors included."""
    model_age = classifier.manifest.age.total_seconds()
    started = time.perf_counter()
    try:
        picture = image.decode(data, max_bytes=max_bytes)
    except DigitsError as error:
        observability.refused(error, model_age=model_age)
        raise
    decoded = time.perf_counter()
    result = classifier.read(picture, mode=mode, explain=explain)
    observability.classified(
        result,
        decode=decoded - started,
        inference=time.perf_counter() - decoded,
        model_age=model_age,
    )
    return result
