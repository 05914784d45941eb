"""May this candidate be promoted? Reads two reports; knows no TensorFlow and runs no model.

Absolute floors hold for every candidate, and this software must be able to serve it. Where a model
is in service in the same store, the candidate must not be worse than it, as far as the size of the
test sets can tell; that model may be of an earlier schema or for another preprocessing, which this
software cannot serve. A figure that one of the two reports lacks is not compared, and the table
says so.

Of ``report.json`` it reads, where they are there:

- ``test``: ``images``, ``accuracy``, ``negative_log_likelihood``, ``expected_calibration_error``
  (these four always), ``negative_log_likelihood_standard_error``;
- ``parity``: ``labels`` that LiteRT reads otherwise than Keras, the largest difference of a
  ``probability``;
- ``outside``: by the name of each set of pictures from outside MNIST, ``images`` and ``accuracy``,
  and ``sha256`` if the set may change;
- ``serving``: ``latency_ratio``, the time for one frame as a multiple of the textbook network's in
  the same run;
- ``segmentation`` (a candidate's report always): ``glyphs`` and ``sha256`` of the rendered pages,
  ``ink.f1`` with ``ink.f1_standard_error``, and of ``instances`` their number ``found``,
  ``precision`` and ``recall``; see `training_job.segmentation`.

The sizes of the networks and the digests of the test set are the manifest's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from digits.errors import DigitsError, ModelUnavailable
from digits.registry import bundle, registry
from digits.registry.bundle import (
    MANIFEST,
    REPORT,
    SEGMENTER,
    TFLITE,
    Manifest,
    NewerSchema,
    ReadFile,
)
from digits.registry.object_store import Store, StoreUnreachable
from digits.registry.registry import Pointer, Seen

# The floors: what no model in service may fall below, whatever was there before it.
MIN_ACCURACY = 0.99
MAX_NEGATIVE_LOG_LIKELIHOOD = 0.04
MAX_CALIBRATION_ERROR = 0.01
MAX_LABELS_CHANGED = 0
MAX_PROBABILITY_CHANGED = 1e-5
MAX_BYTES = 2_000_000
MAX_LATENCY_RATIO = 10.0
# Of the segmentation network on 400 rendered pages: four standard errors below what the network of
# version 0.1.0 measures there (0.907, 0.865 and 0.783), rounded down; and twice its size.
MIN_INK_F1 = 0.88
MIN_GLYPH_RECALL = 0.82
MIN_GLYPH_PRECISION = 0.73
MAX_SEGMENTER_BYTES = 2_000_000

# Of two equally good models one looks this many standard errors worse once in forty times.
SIGMAS = 1.96
# A network of the same architecture has the same size and speed, but for how they are measured.
SAME_SIZE = 1.1
SAME_SPEED = 1.5

_NOT_REPORTED = "not in the report"

Unit = Literal["share", "nats", "count", "parts", "bytes", "times"]
_FORMATS: dict[Unit, str] = {
    "share": "{:.3%}",
    "nats": "{:.4f}",
    "count": "{:,.0f}",
    "parts": "{:.1e}",
    "bytes": "{:,.0f}",
    "times": "{:.2f}×",
}

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Test(_Figures):
    images: Count
    accuracy: Share
    negative_log_likelihood: Positive
    expected_calibration_error: Share
    negative_log_likelihood_standard_error: Positive | None = None


class _Parity(_Figures):
    labels: Annotated[int, Field(ge=0)]
    probability: Share


class _Outside(_Figures):
    images: Count
    accuracy: Share
    sha256: str | None = None


class _Serving(_Figures):
    latency_ratio: Positive | None = None


class _Ink(_Figures):
    f1: Share
    f1_standard_error: Positive


class _Instances(_Figures):
    found: Annotated[int, Field(ge=0)]
    precision: Share
    recall: Share


class _Segmentation(_Figures):
    glyphs: Count
    sha256: str
    ink: _Ink
    instances: _Instances


def _if_known(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """None for figures in a form that this version does not know: the others still count."""
    try:
        return validate(value)
    except ValidationError:
        return None


class Report(_Figures):
    """What the gate reads of ``report.json``."""

    test: _Test
    parity: _Parity | None = None
    outside: dict[str, _Outside] = {}
    serving: _Serving = _Serving()
    segmentation: Annotated[_Segmentation | None, WrapValidator(_if_known)] = None


@dataclass(frozen=True)
class Evidence:
    """What speaks for a model."""

    manifest: Manifest
    report: Report


@dataclass(frozen=True)
class Criterion:
    """One thing that is asked of a candidate.

    Attributes
    ----------
    name
        What is measured.
    value, bound
        The candidate's figure, and what it is compared with; if either is None, nothing is.
    sense
        On which side of the bound the value must be; equal is good enough.
    unit
        Of both: a share of 1, nats, a count, parts of 1, bytes, or a multiple.
    why
        Where the bound comes from, or why nothing is compared.
    """

    name: str
    value: float | None
    sense: Literal["≥", "≤"]
    bound: float | None
    unit: Unit
    why: str

    @property
    def passed(self) -> bool | None:
        """Whether the value is on the right side of its bound; None without a value."""
        if self.value is None or self.bound is None:
            return None
        return self.value >= self.bound if self.sense == "≥" else self.value <= self.bound

    def shown(self, figure: float | None) -> str:
        """A value or bound of this criterion for people."""
        return "–" if figure is None else _FORMATS[self.unit].format(figure)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True)
class Promotion:
    """A model that is in service now, and what it was judged by."""

    pointer: Pointer
    criteria: tuple[Criterion, ...]


class Refused(DigitsError):
    """The candidate failed the gate; nothing was changed."""

    code = "refused"
    http_status = 409

    def __init__(self, version: str, criteria: tuple[Criterion, ...]) -> None:
        self.criteria = criteria
        reasons = ", ".join(
            f"{item.name} is {item.shown(item.value)}, not {item.sense} {item.shown(item.bound)}"
            for item in failures(criteria)
        )
        super().__init__(f"{version} is not promoted: {reasons}.")


def promote(version: str, models: Store, *, forced: str | None = None) -> Promotion:
    """Put a published version in service, if it passes; or, for a reason, if it does not.

    Parameters
    ----------
    version
        One that is in `models` already.
    forced
        Why to promote it even if it fails; then kept in the pointer.

    Raises
    ------
    Refused
        If it fails and nothing forces it.
    ModelUnavailable, Conflict, StoreUnreachable
        As for `registry.promote`; if the candidate's report has no figures for its segmentation
        network; and if the model in service cannot be compared with and nothing forces the
        promotion.
    """
    seen = registry.look(models)
    candidate = evidence(registry.in_store(models, version))
    bundle.check_servable(candidate.manifest)
    if candidate.report.segmentation is None:
        raise ModelUnavailable(
            f"{REPORT} of model {version} has no figures for its segmentation network; assemble the"
            " bundle again."
        )
    uncompared = False
    try:
        in_service, absent = _in_service(models, seen)
    except NotComparable as error:
        if forced is None:
            raise
        in_service, absent, uncompared = None, str(error), True
    criteria = judge(candidate, in_service, absent=absent)
    refused = bool(failures(criteria))
    if refused and forced is None:
        raise Refused(version, criteria)
    reason = forced if refused or uncompared else None
    pointer = registry.promote(version, models, seen=seen, forced=reason)
    return Promotion(pointer, criteria)


def judge(
    candidate: Evidence, in_service: Evidence | None, *, absent: str = "nothing is in service yet"
) -> tuple[Criterion, ...]:
    """Everything that is asked of `candidate`.

    Parameters
    ----------
    candidate
        The model to judge.
    in_service
        The model to compare it with, if there is one.
    absent
        Why it is None.
    """
    if in_service is None:
        return (*_floors(candidate), _skipped("comparison with the model in service", absent))
    return (*_floors(candidate), *_comparisons(candidate, in_service))


def failures(criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
    """Those that stand against a promotion."""
    return tuple(item for item in criteria if item.passed is False)


def evidence(read_file: ReadFile) -> Evidence:
    """Read what speaks for the bundle whose files `read_file` gives; it may be of any schema.

    Raises
    ------
    ModelUnavailable
        If its manifest or its report is missing, not the one described, or not valid.
    """
    manifest = bundle.parse_manifest(read_file(MANIFEST))
    try:
        report = Report.model_validate_json(bundle.read_one(read_file, manifest, REPORT))
    except ValidationError as error:
        raise ModelUnavailable(
            f"{REPORT} of model {manifest.version} cannot be judged"
            f" ({bundle.first_problem(error)})."
        ) from error
    return Evidence(manifest, report)


class NotComparable(ModelUnavailable):
    """A model is in service, and nothing says how good it is."""


def _in_service(models: Store, seen: Seen) -> tuple[Evidence | None, str]:
    """The model in service, or why none can be compared with.

    Raises
    ------
    NotComparable
        If functions may be serving it, but its report cannot be read: they need no report.
    """
    if seen.etag is None:
        return None, "nothing is in service yet"
    if seen.pointer is None:
        return None, f"{registry.POINTER} is no valid pointer"
    version = seen.pointer.version
    read_file = registry.in_store(models, version)
    try:
        return evidence(read_file), ""
    except StoreUnreachable:
        raise
    except ModelUnavailable as error:
        if isinstance(error, NewerSchema) or _is_served(read_file):
            raise NotComparable(
                f"The candidate cannot be compared with the model in service, {version}. {error}"
                " Publish that model again, or give --force with a reason."
            ) from error
        return None, str(error)


def _is_served(read_file: ReadFile) -> bool:
    """Whether this software, or an earlier version of it, can serve a bundle."""
    try:
        manifest = bundle.parse_manifest(read_file(MANIFEST))
        for name in bundle.served(manifest):
            bundle.read_one(read_file, manifest, name)
    except StoreUnreachable:
        raise
    except ModelUnavailable:
        return False
    return True


def _floors(candidate: Evidence) -> tuple[Criterion, ...]:
    test, parity, serving = (
        candidate.report.test,
        candidate.report.parity,
        candidate.report.serving,
    )
    labels, probability = (parity.labels, parity.probability) if parity else (None, None)
    size = candidate.manifest.files[TFLITE].bytes
    ece, nll = test.expected_calibration_error, test.negative_log_likelihood
    return (
        _at_least("test accuracy", test.accuracy, MIN_ACCURACY, "share"),
        _at_most("negative log-likelihood", nll, MAX_NEGATIVE_LOG_LIKELIHOOD, "nats"),
        _at_most("calibration error", ece, MAX_CALIBRATION_ERROR, "share"),
        _at_most("labels that LiteRT changes", labels, MAX_LABELS_CHANGED, "count"),
        _at_most("probability that LiteRT changes", probability, MAX_PROBABILITY_CHANGED, "parts"),
        _at_most("size of the served file", size, MAX_BYTES, "bytes"),
        _at_most("time for a digit", serving.latency_ratio, MAX_LATENCY_RATIO, "times"),
        *_segmentation_floors(candidate),
    )


def _segmentation_floors(candidate: Evidence) -> tuple[Criterion, ...]:
    figures, file = candidate.report.segmentation, candidate.manifest.files.get(SEGMENTER)
    f1, recall, precision = (
        (figures.ink.f1, figures.instances.recall, figures.instances.precision)
        if figures
        else (None, None, None)
    )
    size = file.bytes if file else None
    return (
        _at_least("ink F1", f1, MIN_INK_F1, "share"),
        _at_least("glyph recall", recall, MIN_GLYPH_RECALL, "share"),
        _at_least("glyph precision", precision, MIN_GLYPH_PRECISION, "share"),
        _at_most("size of the segmentation network", size, MAX_SEGMENTER_BYTES, "bytes"),
    )


def _comparisons(candidate: Evidence, in_service: Evidence) -> tuple[Criterion, ...]:
    return (
        *_on_test_images(candidate, in_service),
        *_outside_mnist(candidate.report.outside, in_service.report.outside),
        *_segmentation(candidate.report.segmentation, in_service.report.segmentation),
        *_cost(candidate, in_service),
    )


def _on_test_images(candidate: Evidence, in_service: Evidence) -> tuple[Criterion, ...]:
    if _test_set(candidate.manifest) != _test_set(in_service.manifest):
        why = "the model in service was tested on other images"
        return (_skipped("figures on the test images, compared", why),)
    new, old = candidate.report.test, in_service.report.test
    # Of the calibration error too: in each bin it errs as a share does, and over all bins no more.
    slack = _slack(_error(new.accuracy, new.images), _error(old.accuracy, old.images))
    return (
        _at_least(
            "test accuracy, compared",
            new.accuracy,
            old.accuracy - slack,
            "share",
            _within(f"{old.accuracy:.3%}"),
        ),
        _at_most(
            "calibration error, compared",
            new.expected_calibration_error,
            old.expected_calibration_error + slack,
            "share",
            _within(f"{old.expected_calibration_error:.3%}"),
        ),
        _likelihood(new, old),
    )


def _likelihood(new: _Test, old: _Test) -> Criterion:
    name, value = "negative log-likelihood, compared", new.negative_log_likelihood
    ours = new.negative_log_likelihood_standard_error
    theirs = old.negative_log_likelihood_standard_error
    if ours is None or theirs is None:
        return _skipped(name, "its standard error is not in both reports")
    bound = old.negative_log_likelihood + _slack(ours, theirs)
    return _at_most(name, value, bound, "nats", _within(f"{old.negative_log_likelihood:.4f}"))


def _outside_mnist(new: dict[str, _Outside], old: dict[str, _Outside]) -> Iterator[Criterion]:
    for picture_set in sorted(new.keys() | old.keys()):
        name = f"accuracy on {picture_set}, compared"
        ours, theirs = new.get(picture_set), old.get(picture_set)
        if ours is None or theirs is None:
            yield _skipped(name, "not in both reports")
        elif ours.sha256 != theirs.sha256:
            yield _skipped(name, "the model in service was tested on other pictures")
        else:
            errors = (_error(side.accuracy, side.images) for side in (ours, theirs))
            bound = theirs.accuracy - _slack(*errors)
            why = _within(f"{theirs.accuracy:.3%}")
            yield _at_least(name, ours.accuracy, bound, "share", why)


def _segmentation(new: _Segmentation | None, old: _Segmentation | None) -> tuple[Criterion, ...]:
    name = "segmentation, compared"
    if new is None or old is None:
        return (_skipped(name, "not in both reports"),)
    if new.sha256 != old.sha256:
        return (_skipped(name, "the model in service was tested on other pages"),)
    f1_slack = _slack(new.ink.f1_standard_error, old.ink.f1_standard_error)
    recall_slack = _slack(*(_error(it.instances.recall, it.glyphs) for it in (new, old)))
    precision_slack = _slack(
        *(_error(it.instances.precision, max(1, it.instances.found)) for it in (new, old))
    )
    return (
        _not_below("ink F1, compared", new.ink.f1, old.ink.f1, f1_slack),
        _not_below(
            "glyph recall, compared", new.instances.recall, old.instances.recall, recall_slack
        ),
        _not_below(
            "glyph precision, compared",
            new.instances.precision,
            old.instances.precision,
            precision_slack,
        ),
    )


def _not_below(name: str, value: float, in_service: float, slack: float) -> Criterion:
    return _at_least(name, value, in_service - slack, "share", _within(f"{in_service:.3%}"))


def _cost(candidate: Evidence, in_service: Evidence) -> tuple[Criterion, ...]:
    """Size and speed: a change of architecture is a choice, and the floors judge it."""
    if candidate.manifest.architecture != in_service.manifest.architecture:
        why = "the model in service is of another architecture"
        return (_skipped("size and time, compared", why),)
    size, old_size = (side.manifest.files[TFLITE].bytes for side in (candidate, in_service))
    time, old_time = (side.report.serving.latency_ratio for side in (candidate, in_service))
    name, why = "time for a digit, compared", f"{SAME_SPEED}× in service"
    return (
        _at_most(
            "size of the served file, compared",
            size,
            old_size * SAME_SIZE,
            "bytes",
            f"{SAME_SIZE}× in service",
        ),
        _skipped(name, "not in both reports")
        if time is None or old_time is None
        else _at_most(name, time, old_time * SAME_SPEED, "times", why),
    )


def _at_least(
    name: str, value: float | None, bound: float, unit: Unit, why: str = "floor"
) -> Criterion:
    return Criterion(name, value, "≥", bound, unit, _NOT_REPORTED if value is None else why)


def _at_most(
    name: str, value: float | None, bound: float, unit: Unit, why: str = "floor"
) -> Criterion:
    return Criterion(name, value, "≤", bound, unit, _NOT_REPORTED if value is None else why)


def _skipped(name: str, why: str) -> Criterion:
    return Criterion(name, None, "≥", None, "count", why)


def _test_set(manifest: Manifest) -> tuple[str | None, str | None]:
    digests = manifest.data.sha256
    return digests.get("x_test"), digests.get("y_test")


def _error(share: float, count: int) -> float:
    """Standard error of a share that was found in `count` trials."""
    return math.sqrt(share * (1 - share) / count)


def _slack(*errors: float) -> float:
    """How much worse than an equal a candidate may look by chance."""
    return SIGMAS * math.sqrt(sum(error**2 for error in errors))


def _within(figure: str) -> str:
    return f"{figure} in service, give or take {SIGMAS} standard errors"
