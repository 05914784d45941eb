"""The gate passes candidates that meet the limits and are not worse than the model in service."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digits.errors import Conflict, ModelUnavailable
from digits.registry import bundle, gate, registry
from digits.registry.gate import EvaluatedModel, Report
from digits.registry.object_store import FolderStore, StoreUnreachable
from tests.bundles import NEW, OLD, make_bundle, make_schema_1, put_in_service, tampered

GOOD = {
    "test": {
        "images": 10_000,
        "accuracy": 0.995,
        "negative_log_likelihood": 0.017,
        "negative_log_likelihood_standard_error": 0.0018,
        "expected_calibration_error": 0.002,
    },
    "parity": {"labels": 0, "probability": 1e-6},
    "outside": {
        "photos": {"images": 1000, "accuracy": 0.95},
        "uci": {"images": 1797, "accuracy": 0.9},
    },
    "serving": {"bytes": 900_000, "latency_ratio": 1.0},
    "segmentation": {
        "glyphs": 1000,
        "sha256": "a",
        "ink": {"f1": 0.95, "f1_standard_error": 0.005},
        "instances": {"found": 1000, "precision": 0.9, "recall": 0.9},
    },
}
SHIPPED = bundle.load().manifest


def figures(**changes):
    """A good report with some figures changed: ``test__accuracy=0.98``; None takes one away."""
    report = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        *above, name = path.split("__")
        part = report
        for step in above:
            part = part[step]
        if value is None:
            del part[name]
        else:
            part[name] = value
    return report


def model(*, size=900_000, segmenter=900_000, architecture="reference", x_test="1" * 64, **changes):
    sizes = {bundle.TFLITE: size, bundle.SEGMENTER: segmenter}
    manifest = SHIPPED.model_copy(
        update={
            "files": {
                name: SHIPPED.files[name].model_copy(update={"bytes": count})
                for name, count in sizes.items()
            },
            "architecture": architecture,
            "data": SHIPPED.data.model_copy(update={"sha256": {"x_test": x_test}}),
        }
    )
    return EvaluatedModel(manifest, Report.model_validate(figures(**changes)))


def failed(candidate, in_service=None):
    return [item.name for item in gate.failures(gate.evaluate(candidate, in_service))]


def row(name, candidate, in_service=None):
    (found,) = [item for item in gate.evaluate(candidate, in_service) if item.name == name]
    return found


def test_a_good_model_passes_alone_and_against_an_equal():
    assert failed(model()) == []
    assert failed(model(), model()) == []
    assert all(item.passed for item in gate.evaluate(model(), model()))


@pytest.mark.parametrize(
    ("good", "bad", "name"),
    [
        ({"test__accuracy": 0.99}, {"test__accuracy": 0.9899}, "test accuracy"),
        (
            {"test__negative_log_likelihood": 0.04},
            {"test__negative_log_likelihood": 0.0401},
            "negative log-likelihood",
        ),
        (
            {"test__expected_calibration_error": 0.01},
            {"test__expected_calibration_error": 0.0101},
            "calibration error",
        ),
        ({"parity__labels": 0}, {"parity__labels": 1}, "labels that LiteRT changes"),
        (
            {"parity__probability": 1e-5},
            {"parity__probability": 1.01e-5},
            "probability that LiteRT changes",
        ),
        ({"size": 2_000_000}, {"size": 2_000_001}, "size of the served file"),
        ({"serving__latency_ratio": 10.0}, {"serving__latency_ratio": 10.1}, "time for a digit"),
        ({"segmentation__ink__f1": 0.88}, {"segmentation__ink__f1": 0.879}, "ink F1"),
        (
            {"segmentation__instances__recall": 0.82},
            {"segmentation__instances__recall": 0.819},
            "glyph recall",
        ),
        (
            {"segmentation__instances__precision": 0.73},
            {"segmentation__instances__precision": 0.729},
            "glyph precision",
        ),
        (
            {"segmenter": 2_000_000},
            {"segmenter": 2_000_001},
            "size of the segmentation network",
        ),
    ],
)
def test_absolute_limits_hold_with_and_without_a_model_in_service(good, bad, name):
    assert failed(model(**good)) == []
    assert failed(model(**bad)) == [name]
    assert name in failed(model(**bad), model(**bad))


def test_accuracy_may_be_lower_within_sampling_error():
    """1.96 standard errors of a difference of shares of 99.5 % in 10,000 are 0.1955 points."""
    chance = 1.96 * math.sqrt(2 * 0.995 * 0.005 / 10_000)
    assert chance == pytest.approx(0.001955, abs=1e-6)
    assert failed(model(test__accuracy=0.9931), model()) == []
    assert failed(model(test__accuracy=0.9928), model()) == ["test accuracy, compared"]


def test_fewer_images_allow_a_larger_difference():
    few = {"test__images": 1_000}
    assert failed(model(test__accuracy=0.9905, **few), model(**few)) == []
    assert failed(model(test__accuracy=0.9905), model()) == ["test accuracy, compared"]


@pytest.mark.parametrize(
    ("good", "bad", "name"),
    [
        (
            {"test__expected_calibration_error": 0.0039},
            {"test__expected_calibration_error": 0.0041},
            "calibration error, compared",
        ),
        (
            {"test__negative_log_likelihood": 0.0219},
            {"test__negative_log_likelihood": 0.0221},
            "negative log-likelihood, compared",
        ),
        (
            {"outside__photos__accuracy": 0.931},
            {"outside__photos__accuracy": 0.928},
            "accuracy on photos, compared",
        ),
        (
            {"outside__uci__accuracy": 0.881},
            {"outside__uci__accuracy": 0.878},
            "accuracy on uci, compared",
        ),
        # 1.96 standard errors of the difference: 0.0139 of F1, 0.0267 of the shares at 90 %
        (
            {"segmentation__ink__f1": 0.9362},
            {"segmentation__ink__f1": 0.9360},
            "ink F1, compared",
        ),
        (
            {"segmentation__instances__recall": 0.874},
            {"segmentation__instances__recall": 0.872},
            "glyph recall, compared",
        ),
        (
            {"segmentation__instances__precision": 0.874},
            {"segmentation__instances__precision": 0.872},
            "glyph precision, compared",
        ),
        ({"size": 989_000}, {"size": 991_000}, "size of the served file, compared"),
        (
            {"serving__latency_ratio": 1.5},
            {"serving__latency_ratio": 1.51},
            "time for a digit, compared",
        ),
    ],
)
def test_no_figure_may_be_worse_than_in_service_by_more_than_its_slack(good, bad, name):
    assert failed(model(**good), model()) == []
    assert failed(model(**bad), model()) == [name]


@pytest.mark.parametrize(
    ("gone", "names"),
    [
        ("parity", ["labels that LiteRT changes", "probability that LiteRT changes"]),
        ("serving", ["time for a digit", "time for a digit, compared"]),
        ("outside", ["accuracy on photos, compared", "accuracy on uci, compared"]),
        ("outside__uci", ["accuracy on uci, compared"]),
        (
            "segmentation",
            ["ink F1", "glyph recall", "glyph precision", "segmentation, compared"],
        ),
        ("test__negative_log_likelihood_standard_error", ["negative log-likelihood, compared"]),
    ],
)
def test_figures_missing_from_the_candidates_report_are_skipped_with_the_reason(gone, names):
    criteria = gate.evaluate(model(**{gone: None}), model())
    assert gate.failures(criteria) == ()
    skipped = {item.name: item.why for item in criteria if item.passed is None}
    assert list(skipped) == names
    assert all("report" in why for why in skipped.values())


@pytest.mark.parametrize("gone", ["parity", "serving", "outside", "outside__uci", "segmentation"])
def test_figures_that_only_the_candidates_report_has_are_not_compared(gone):
    criteria = gate.evaluate(model(), model(**{gone: None}))
    assert gate.failures(criteria) == ()
    skipped = [item.name for item in criteria if item.passed is None]
    assert all("compared" in name for name in skipped)
    assert bool(skipped) == (gone != "parity")


def test_other_test_images_are_not_compared():
    worse = model(test__accuracy=0.99, x_test="2" * 64)
    assert failed(worse, model()) == []
    assert "other images" in row("figures on the test images, compared", worse, model()).why


def test_other_pictures_under_the_same_name_are_not_compared():
    ours = model(outside__photos={"images": 9, "accuracy": 0.1, "sha256": "a"})
    theirs = model(outside__photos={"images": 9, "accuracy": 1.0, "sha256": "b"})
    assert failed(ours, theirs) == []
    assert "other pictures" in row("accuracy on photos, compared", ours, theirs).why


def test_figures_on_other_pages_are_not_compared():
    ours, theirs = (
        model(segmentation__instances__recall=recall, segmentation__sha256=sha256)
        for recall, sha256 in ((0.83, "a"), (0.99, "b"))
    )
    assert failed(ours, theirs) == []
    assert "other pages" in row("segmentation, compared", ours, theirs).why


def test_another_architecture_may_be_larger_and_slower_within_absolute_limits():
    other = model(architecture="deep", size=1_900_000, serving__latency_ratio=9.0)
    assert failed(other, model()) == []
    assert "architecture" in row("size and time, compared", other, model()).why


def test_without_a_model_in_service_only_absolute_limits_are_checked():
    last = gate.evaluate(model(), None, absent="nothing is in service yet")[-1]
    assert (last.passed, last.why) == (None, "nothing is in service yet")


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_better_figure_never_makes_a_candidate_fail(low, high, images, others):
    low, high = sorted((low, high))
    for in_service in (0.0, low, (low + high) / 2, 1.0):
        there = model(test__accuracy=in_service, test__images=others)
        worse = failed(model(test__accuracy=low, test__images=images), there)
        better = failed(model(test__accuracy=high, test__images=images), there)
        assert {name for name in better if "accuracy" in name} <= {
            name for name in worse if "accuracy" in name
        }


@pytest.mark.parametrize(
    "wrong",
    [
        {"test": None},
        {"test__accuracy": None},
        {"test__accuracy": 1.2},
        {"test__accuracy": "high"},
        {"test__images": 0},
        {"parity__labels": -1},
    ],
)
def test_an_invalid_report_raises(tmp_path, wrong):
    def write(report):
        report.clear()
        report.update(figures(**wrong))

    folder = make_bundle(tmp_path / "new", NEW, report=write)
    with pytest.raises(
        ModelUnavailable, match=rf"report\.json of model {NEW} is not a valid report"
    ):
        gate.read_evaluated(bundle.in_folder(folder))


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_a_figure_that_is_not_finite_raises(tmp_path, number):
    def write(report):
        report["test"]["negative_log_likelihood"] = float(number)

    folder = make_bundle(tmp_path / "new", NEW, report=write)
    with pytest.raises(ModelUnavailable, match="is not a valid report"):
        gate.read_evaluated(bundle.in_folder(folder))


def test_a_report_that_does_not_match_its_digest_raises(tmp_path):
    folder = make_bundle(tmp_path / "new", NEW)
    tampered(folder / "report.json")
    with pytest.raises(ModelUnavailable, match="digest"):
        gate.read_evaluated(bundle.in_folder(folder))


def test_the_shipped_model_meets_the_absolute_limits():
    evidence = gate.read_evaluated(bundle.in_folder(bundle.SHIPPED))
    assert gate.failures(gate.evaluate(evidence, None)) == ()


@pytest.fixture
def models(tmp_path):
    return FolderStore(tmp_path / "store")


def bad_test(report):
    report["test"]["accuracy"] = 0.98


def uploaded(models, folder, version, report=None):
    registry.upload(make_bundle(folder, version, report=report), models)
    return version


def test_promotion_in_an_empty_store_needs_only_the_absolute_limits(models, tmp_path):
    promotion = gate.promote(uploaded(models, tmp_path / "new", NEW), models)
    assert registry.current(models)[0] == promotion.pointer
    assert promotion.criteria[-1].why == "nothing is in service yet"


def test_a_refused_candidate_changes_nothing_and_the_error_names_the_criteria(models, tmp_path):
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    with pytest.raises(gate.Refused, match=r"test accuracy is 98\.000%, not ≥ 99\.000%") as hit:
        gate.promote(uploaded(models, tmp_path / "new", NEW, bad_test), models)
    assert "\n" not in str(hit.value)
    assert hit.value.criteria
    assert registry.current(models)[0].version == OLD


def test_a_reason_overrides_the_gate_and_is_stored(models, tmp_path):
    version = uploaded(models, tmp_path / "new", NEW, bad_test)
    promotion = gate.promote(version, models, forced="a demonstration")
    assert gate.failures(promotion.criteria)
    assert registry.current(models)[0].forced == "a demonstration"


def test_a_reason_that_was_not_needed_is_not_stored(models, tmp_path):
    gate.promote(uploaded(models, tmp_path / "new", NEW), models, forced="to be sure")
    assert registry.current(models)[0].forced is None


def test_a_broken_model_in_service_does_not_block_promotion(models, tmp_path):
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    tampered(tmp_path / f"store/models/{OLD}/report.json")
    tampered(tmp_path / f"store/models/{OLD}/segmenter.tflite")
    promotion = gate.promote(uploaded(models, tmp_path / "new", NEW), models)
    assert registry.current(models)[0].version == NEW
    assert "does not match its digest" in promotion.criteria[-1].why


def test_a_served_model_without_a_readable_report_is_not_replaced(models, tmp_path):
    """Functions serve a bundle whatever its report holds."""
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    tampered(tmp_path / f"store/models/{OLD}/report.json")
    version = uploaded(models, tmp_path / "new", NEW)
    with pytest.raises(gate.NotComparable, match=f"{OLD}.*does not match its digest.*--force"):
        gate.promote(version, models)
    assert registry.current(models)[0].version == OLD
    gate.promote(version, models, forced="its report is lost")
    assert registry.current(models)[0].forced == "its report is lost"


def test_unknown_segmentation_figures_do_not_prevent_other_comparisons(models, tmp_path):
    def other_form(report):
        report["segmentation"] = {"pages": 400, "by_kind": {}}

    folder = make_bundle(tmp_path / "old", OLD, report=other_form)
    registry.publish(folder, models)
    with pytest.raises(gate.Refused, match="accuracy on photos hard, compared"):
        gate.promote(uploaded(models, tmp_path / "new", NEW, worse_on_photos), models)


def test_a_broken_pointer_does_not_block_promotion(models, tmp_path):
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    (tmp_path / "store/models/current.json").write_text("{}")
    promotion = gate.promote(uploaded(models, tmp_path / "new", NEW), models)
    assert registry.current(models)[0].version == NEW
    assert "not a valid pointer" in promotion.criteria[-1].why


def test_a_store_that_fails_during_the_check_does_not_skip_the_comparison(
    models, tmp_path, monkeypatch
):
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    version = uploaded(models, tmp_path / "new", NEW)
    real = models.read

    def lost(key, **kwargs):
        if key == f"models/{OLD}/report.json":
            raise StoreUnreachable("Cannot use the store.")
        return real(key, **kwargs)

    monkeypatch.setattr(models, "read", lost)
    with pytest.raises(StoreUnreachable):
        gate.promote(version, models)
    assert registry.current(models)[0].version == OLD


def test_a_model_promoted_during_the_check_of_another_is_not_replaced(
    models, tmp_path, monkeypatch
):
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    version = uploaded(models, tmp_path / "new", NEW)
    rival = uploaded(models, tmp_path / "rival", "20261103T000000Z-0206d068")
    real = gate.evaluate

    def evaluated_slowly(*args, **kwargs):
        registry.promote(rival, models, expected=registry.pointer_state(models))
        return real(*args, **kwargs)

    monkeypatch.setattr(gate, "evaluate", evaluated_slowly)
    with pytest.raises(Conflict):
        gate.promote(version, models)
    assert registry.current(models)[0].version == rival


def schema_1_in_service(models, folder):
    return put_in_service(make_schema_1(folder), models).version


def test_a_candidate_is_compared_with_a_model_of_schema_1_by_their_reports(models, tmp_path):
    schema_1_in_service(models, tmp_path / "old")
    promotion = gate.promote(uploaded(models, tmp_path / "new", NEW), models)
    compared = {it.name: it for it in promotion.criteria if it.name.endswith("compared")}
    for name in ("test accuracy", "calibration error", "accuracy on photos hard"):
        assert compared[f"{name}, compared"].passed
    assert compared["segmentation, compared"].why == "not in both reports"


def worse_on_photos(report):
    report["outside"]["photos hard"]["accuracy"] = 0.9


def test_a_candidate_worse_than_a_model_of_schema_1_is_refused(models, tmp_path):
    """It passes every floor: before, it took the place of any model that could not be served."""
    version = schema_1_in_service(models, tmp_path / "old")
    with pytest.raises(gate.Refused, match="accuracy on photos hard, compared"):
        gate.promote(uploaded(models, tmp_path / "new", NEW, worse_on_photos), models)
    assert registry.current(models)[0].version == version


def rewrite_manifest(models, version, **changes):
    key = f"models/{version}/manifest.json"
    found = models.read(key)
    raw = json.dumps(json.loads(found.data) | changes).encode()
    models.swap(key, raw, expected=found.etag)


def test_a_candidate_worse_than_a_model_for_another_preprocessing_is_refused(models, tmp_path):
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    rewrite_manifest(models, OLD, input={"preprocessing": "1"})
    with pytest.raises(gate.Refused, match="accuracy on photos hard, compared"):
        gate.promote(uploaded(models, tmp_path / "new", NEW, worse_on_photos), models)


def test_a_model_of_a_newer_schema_in_service_is_only_replaced_for_a_reason(models, tmp_path):
    gate.promote(uploaded(models, tmp_path / "old", OLD), models)
    rewrite_manifest(models, OLD, schema=3)
    version = uploaded(models, tmp_path / "new", NEW)
    with pytest.raises(gate.NotComparable, match=rf"{OLD}\. .*schema 3.*--force"):
        gate.promote(version, models)
    assert registry.current(models)[0].version == OLD
    promotion = gate.promote(version, models, forced="the code was rolled back")
    pointer, _ = registry.current(models)
    assert (pointer.version, pointer.forced) == (NEW, "the code was rolled back")
    assert "schema 3" in promotion.criteria[-1].why


@pytest.mark.parametrize("forced", [None, "a demonstration"])
def test_a_candidate_that_cannot_be_served_is_refused_with_any_figures(models, tmp_path, forced):
    version = schema_1_in_service(models, tmp_path / "old")
    registry.publish(make_bundle(tmp_path / "new", NEW), models)
    with pytest.raises(ModelUnavailable, match="bundle schema 1"):
        gate.promote(version, models, forced=forced)
    assert registry.current(models)[0].version == NEW


def test_a_candidate_without_figures_for_its_segmentation_network_raises(models, tmp_path):
    def without(report):
        del report["segmentation"]

    version = uploaded(models, tmp_path / "new", NEW, without)
    with pytest.raises(ModelUnavailable, match="no figures for its segmentation network"):
        gate.promote(version, models)
    assert registry.pointer_state(models).etag is None


def test_the_shipped_model_can_replace_that_of_version_0_1_0(models, tmp_path):
    schema_1_in_service(models, tmp_path / "old")
    version = registry.upload(bundle.SHIPPED, models).version
    assert gate.failures(gate.promote(version, models).criteria) == ()
