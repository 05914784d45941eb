"""The promotion gate: decide by a candidate's report whether it may be put in service.

The gate compares figures in reports; it does not run a model. Every candidate must meet absolute
limits, and this software must be able to serve it. If a model is in service in the same store, the
candidate must not be worse than it beyond sampling error. That model may be one that this software
cannot serve: of an earlier schema, or for another version of the preprocessing. A figure that one
of the two reports lacks is not compared; the criterion then gives that as its reason.

The gate reads these fields of ``report.json``, if present:

- ``test`` (required): ``images``, ``accuracy``, ``negative_log_likelihood`` and
  ``expected_calibration_error`` on the test set (required), and
  ``negative_log_likelihood_standard_error``;
- ``parity``: ``labels``, the number of test images whose digit differs between LiteRT and Keras,
  and ``probability``, the largest difference of a probability;
- ``outside``, the external evaluation: ``images`` and ``accuracy`` by the name of each set that is
  not MNIST, and ``sha256`` if the set may change;
- ``serving``: ``latency_ratio``, the time for one frame as a multiple of the time that a textbook
  network needs in the same run;
- ``segmentation`` (required of a candidate): ``glyphs`` and ``sha256`` of the rendered pages,
  ``ink.f1`` with ``ink.f1_standard_error``, and the number ``found``, ``precision`` and ``recall``
  of ``instances``; see `training_job.segmentation`.

The sizes of the networks and the digests of the test set are read from the manifest.
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
from digits.registry.registry import Pointer, PointerState

# Absolute limits of the classifier, for any candidate. They are requirements of the project, set
# so that a failed training run is refused, not fitted to a model.
MIN_ACCURACY = 0.99  # share of the MNIST test set
MAX_NEGATIVE_LOG_LIKELIHOOD = 0.04  # nats a test image
MAX_CALIBRATION_ERROR = 0.01  # expected calibration error on the test set, share
MAX_LABELS_CHANGED = 0  # test images whose digit differs between LiteRT and Keras
MAX_PROBABILITY_CHANGED = 1e-5  # largest difference of a probability between LiteRT and Keras
MAX_BYTES = 2_000_000  # of the classifier's LiteRT file
MAX_LATENCY_RATIO = 10.0  # time for a frame as a multiple of the textbook network's
# Absolute limits of the segmentation network on 400 rendered pages: four standard errors below what
# the network of version 0.1.0 measures there (0.907, 0.865 and 0.783), rounded down; and twice its
# size.
MIN_INK_F1 = 0.88
MIN_GLYPH_RECALL = 0.82
MIN_GLYPH_PRECISION = 0.73
MAX_SEGMENTER_BYTES = 2_000_000

# Standard errors by which a candidate may be worse than the model in service: the 97.5 % quantile
# of the normal distribution. Of equally good candidates, one in forty is refused.
SIGMAS = 1.96
# Largest ratio of size and of latency to the model in service of the same architecture. Such
# networks are equally large and fast; the margins allow for the exporter and for timing noise.
MAX_SIZE_RATIO = 1.1
MAX_LATENCY_GROWTH = 1.5

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


def _none_if_invalid(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validate figures; None if a later version wrote another form, so the rest is still read."""
    try:
        return validate(value)
    except ValidationError:
        return None


class Report(_Figures):
    """The part of ``report.json`` that the gate reads."""

    test: _Test
    parity: _Parity | None = None
    outside: dict[str, _Outside] = {}
    serving: _Serving = _Serving()
    segmentation: Annotated[_Segmentation | None, WrapValidator(_none_if_invalid)] = None


@dataclass(frozen=True)
class EvaluatedModel:
    """A model's manifest and the report of its evaluation."""

    manifest: Manifest
    report: Report


@dataclass(frozen=True)
class Criterion:
    """One requirement that a candidate is checked against.

    Attributes
    ----------
    name
        What is measured.
    value, bound
        The candidate's figure and its limit. If either is None, the criterion is not checked.
    sense
        The side of the bound on which the value must be. The bound itself passes.
    unit
        Unit of `value` and `bound`: share of 1, nats, count, parts of 1, bytes, or ratio.
    why
        Where the bound comes from, or why the criterion is not checked.
    """

    name: str
    value: float | None
    sense: Literal["≥", "≤"]
    bound: float | None
    unit: Unit
    why: str

    @property
    def passed(self) -> bool | None:
        """Whether the value meets the bound; None if the criterion is not checked."""
        if self.value is None or self.bound is None:
            return None
        return self.value >= self.bound if self.sense == "≥" else self.value <= self.bound

    def shown(self, figure: float | None) -> str:
        """Format a value or bound of this criterion in its unit."""
        return "–" if figure is None else _FORMATS[self.unit].format(figure)

    def to_json(self) -> dict[str, Any]:
        """Return the fields and `passed` as a JSON object."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True)
class Promotion:
    """The pointer after a promotion, and the criteria that were checked."""

    pointer: Pointer
    criteria: tuple[Criterion, ...]


class Refused(DigitsError):
    """The candidate did not pass the gate, and the pointer was not changed."""

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
    """Put an uploaded version in service if it passes the gate, or if the gate is overridden.

    Parameters
    ----------
    version
        A version that was uploaded to `models`.
    models
        The store.
    forced
        The reason to promote the version even if it fails. It is stored in the pointer if it was
        needed. None enforces the gate.

    Raises
    ------
    Refused
        If the candidate fails and `forced` is None.
    NotComparable
        If the model in service has no readable report and `forced` is None.
    ModelUnavailable, Conflict, StoreUnreachable
        As for `registry.promote`, and if the candidate's report has no figures for its segmentation
        network.
    """
    seen = registry.pointer_state(models)
    candidate = read_evaluated(registry.in_store(models, version))
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
    criteria = evaluate(candidate, in_service, absent=absent)
    refused = bool(failures(criteria))
    if refused and forced is None:
        raise Refused(version, criteria)
    reason = forced if refused or uncompared else None
    pointer = registry.promote(version, models, expected=seen, forced=reason)
    return Promotion(pointer, criteria)


def evaluate(
    candidate: EvaluatedModel,
    in_service: EvaluatedModel | None,
    *,
    absent: str = "nothing is in service yet",
) -> tuple[Criterion, ...]:
    """Check `candidate` against every criterion, and return them with their results.

    Parameters
    ----------
    candidate
        The model to check.
    in_service
        The model to compare it with; None if there is none.
    absent
        If `in_service` is None, the reason, which the skipped criterion shows.
    """
    if in_service is None:
        return (*_absolute(candidate), _skipped("comparison with the model in service", absent))
    return (*_absolute(candidate), *_comparisons(candidate, in_service))


def failures(criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
    """Return the criteria that were checked and not met."""
    return tuple(item for item in criteria if item.passed is False)


def read_evaluated(read_file: ReadFile) -> EvaluatedModel:
    """Read the manifest and the report of a bundle of any schema.

    Parameters
    ----------
    read_file
        Returns the bytes of one file of the bundle, given its name.

    Raises
    ------
    ModelUnavailable
        If the manifest or the report is missing or not valid, or the report does not match its
        digest.
    """
    manifest = bundle.parse_manifest(read_file(MANIFEST))
    try:
        report = Report.model_validate_json(bundle.read_one(read_file, manifest, REPORT))
    except ValidationError as error:
        raise ModelUnavailable(
            f"{REPORT} of model {manifest.version} is not a valid report"
            f" ({bundle.first_problem(error)}); publish the bundle again."
        ) from error
    return EvaluatedModel(manifest, report)


class NotComparable(ModelUnavailable):
    """A model is in service, but its report cannot be read, so no candidate can be compared."""


def _in_service(models: Store, seen: PointerState) -> tuple[EvaluatedModel | None, str]:
    """Return the model in service, or None and the reason why there is none to compare with.

    Raises
    ------
    NotComparable
        If the model in service can be served, but its report cannot be read. Serving does not need
        the report, so requests may be answered by that model now.
    """
    if seen.etag is None:
        return None, "nothing is in service yet"
    if seen.pointer is None:
        return None, f"{registry.POINTER} is not a valid pointer"
    version = seen.pointer.version
    read_file = registry.in_store(models, version)
    try:
        return read_evaluated(read_file), ""
    except StoreUnreachable:
        raise
    except ModelUnavailable as error:
        if isinstance(error, NewerSchema) or _can_be_served(read_file):
            raise NotComparable(
                f"The candidate cannot be compared with the model in service, {version}. {error}"
                " Publish that model again, or give --force with a reason."
            ) from error
        return None, str(error)


def _can_be_served(read_file: ReadFile) -> bool:
    """Whether this version of the software, or an earlier one, can serve a bundle."""
    try:
        manifest = bundle.parse_manifest(read_file(MANIFEST))
        for name in bundle.required_files(manifest):
            bundle.read_one(read_file, manifest, name)
    except StoreUnreachable:
        raise
    except ModelUnavailable:
        return False
    return True


def _absolute(candidate: EvaluatedModel) -> tuple[Criterion, ...]:
    """Check a candidate against the absolute limits."""
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
        *_absolute_of_segmentation(candidate),
    )


def _absolute_of_segmentation(candidate: EvaluatedModel) -> tuple[Criterion, ...]:
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


def _comparisons(candidate: EvaluatedModel, in_service: EvaluatedModel) -> tuple[Criterion, ...]:
    return (
        *_compare_test_set(candidate, in_service),
        *_compare_external(candidate.report.outside, in_service.report.outside),
        *_compare_segmentation(candidate.report.segmentation, in_service.report.segmentation),
        *_compare_cost(candidate, in_service),
    )


def _compare_test_set(
    candidate: EvaluatedModel, in_service: EvaluatedModel
) -> tuple[Criterion, ...]:
    if _test_set(candidate.manifest) != _test_set(in_service.manifest):
        why = "the model in service was tested on other images"
        return (_skipped("figures on the test images, compared", why),)
    new, old = candidate.report.test, in_service.report.test
    # Also used for the calibration error, whose reports have no standard error. In each bin that
    # error is a difference to a share of correct images, and the bins' weights add up to 1, so its
    # standard error is at most about the accuracy's.
    slack = _slack(
        _standard_error(new.accuracy, new.images), _standard_error(old.accuracy, old.images)
    )
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
        _compare_likelihood(new, old),
    )


def _compare_likelihood(new: _Test, old: _Test) -> Criterion:
    name, value = "negative log-likelihood, compared", new.negative_log_likelihood
    ours = new.negative_log_likelihood_standard_error
    theirs = old.negative_log_likelihood_standard_error
    if ours is None or theirs is None:
        return _skipped(name, "its standard error is not in both reports")
    bound = old.negative_log_likelihood + _slack(ours, theirs)
    return _at_most(name, value, bound, "nats", _within(f"{old.negative_log_likelihood:.4f}"))


def _compare_external(new: dict[str, _Outside], old: dict[str, _Outside]) -> Iterator[Criterion]:
    for picture_set in sorted(new.keys() | old.keys()):
        name = f"accuracy on {picture_set}, compared"
        ours, theirs = new.get(picture_set), old.get(picture_set)
        if ours is None or theirs is None:
            yield _skipped(name, "not in both reports")
        elif ours.sha256 != theirs.sha256:
            yield _skipped(name, "the model in service was tested on other pictures")
        else:
            errors = (_standard_error(side.accuracy, side.images) for side in (ours, theirs))
            bound = theirs.accuracy - _slack(*errors)
            why = _within(f"{theirs.accuracy:.3%}")
            yield _at_least(name, ours.accuracy, bound, "share", why)


def _compare_segmentation(
    new: _Segmentation | None, old: _Segmentation | None
) -> tuple[Criterion, ...]:
    name = "segmentation, compared"
    if new is None or old is None:
        return (_skipped(name, "not in both reports"),)
    if new.sha256 != old.sha256:
        return (_skipped(name, "the model in service was tested on other pages"),)
    f1_slack = _slack(new.ink.f1_standard_error, old.ink.f1_standard_error)
    recall_slack = _slack(*(_standard_error(it.instances.recall, it.glyphs) for it in (new, old)))
    precision_slack = _slack(
        *(_standard_error(it.instances.precision, max(1, it.instances.found)) for it in (new, old))
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


def _compare_cost(candidate: EvaluatedModel, in_service: EvaluatedModel) -> tuple[Criterion, ...]:
    """Compare size and latency; of another architecture only the absolute limits apply."""
    if candidate.manifest.architecture != in_service.manifest.architecture:
        why = "the model in service is of another architecture"
        return (_skipped("size and time, compared", why),)
    size, old_size = (side.manifest.files[TFLITE].bytes for side in (candidate, in_service))
    time, old_time = (side.report.serving.latency_ratio for side in (candidate, in_service))
    name, why = "time for a digit, compared", f"{MAX_LATENCY_GROWTH}× in service"
    return (
        _at_most(
            "size of the served file, compared",
            size,
            old_size * MAX_SIZE_RATIO,
            "bytes",
            f"{MAX_SIZE_RATIO}× in service",
        ),
        _skipped(name, "not in both reports")
        if time is None or old_time is None
        else _at_most(name, time, old_time * MAX_LATENCY_GROWTH, "times", why),
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


def _standard_error(share: float, count: int) -> float:
    """Return the standard error of a share measured on `count` samples."""
    return math.sqrt(share * (1 - share) / count)


def _slack(*errors: float) -> float:
    """Return by how much a candidate may be worse, given the standard errors of both figures."""
    return SIGMAS * math.sqrt(sum(error**2 for error in errors))


def _within(figure: str) -> str:
    return f"{figure} in service, within {SIGMAS} standard errors"
