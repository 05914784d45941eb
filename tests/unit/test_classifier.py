"""The classifier, on images whose digits are known."""

import base64
import csv
import io
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from digits import Classifier, explain
from digits.errors import ModelUnavailable, TooLarge
from digits.registry import bundle
from tests.conftest import GOLDEN, truths


@pytest.mark.parametrize(("name", "truth"), truths().items())
def test_a_golden_picture_is_read(classifier, name, truth):
    result = classifier.classify((GOLDEN / name).read_bytes())
    assert (result.text, result.digits[0].digit) == (str(truth), truth)


@pytest.mark.parametrize(("folder", "mode"), [("own", "single"), ("numbers", "multiple")])
def test_golden_pictures_of_other_hands_are_read(classifier, folder, mode):
    with (GOLDEN / folder / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    for row in rows:
        result = classifier.classify((GOLDEN / folder / row["file"]).read_bytes(), mode=mode)
        assert result.text == row["truth"], row["file"]
        assert not result.needs_review, row["file"]


def test_a_result_has_the_published_form(classifier, seven):
    result = classifier.classify(seven).model_dump(mode="json")
    assert list(result) == ["text", "needs_review", "reason", "digits", "image", "model"]
    (digit,) = result["digits"]
    assert set(digit) == {"digit", "confidence", "probabilities", "box", "needs_review", "reason"}
    assert len(digit["probabilities"]) == 10
    assert sum(digit["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert digit["confidence"] == max(digit["probabilities"])
    assert result["image"] == {"width": 360, "height": 480, "format": "PNG"}
    assert set(result["model"]) == {"version", "sha256", "preprocessing"}


def test_the_box_holds_the_ink(classifier, seven):
    x, y, width, height = classifier.classify(seven).digits[0].box
    ink = np.asarray(Image.open(io.BytesIO(seven)).convert("L")) < 128
    inside = ink[y : y + height, x : x + width].sum()
    assert inside >= 0.98 * ink.sum()
    assert width * height < 0.6 * ink.size


def test_blank_paper_is_for_review_and_has_no_digit(classifier):
    buffer = io.BytesIO()
    Image.new("L", (200, 200), 230).save(buffer, "PNG")
    result = classifier.classify(buffer.getvalue())
    assert (result.text, result.digits, result.needs_review, result.reason) == (
        None, (), True, "blank",
    )  # fmt: skip


def test_an_explanation_has_the_classifiers_input_frame(classifier, seven):
    digit = classifier.classify(seven, explain="frame").digits[0]
    assert set(digit.model_dump()["explanation"]) == {"frame"}
    frame = Image.open(io.BytesIO(base64.b64decode(digit.explanation.frame)))
    assert (frame.size, frame.mode) == ((28, 28), "L")
    again = classifier.probabilities(np.asarray(frame, np.float32)[np.newaxis] / 255)
    assert again.argmax() == digit.digit


def test_a_full_explanation_has_an_occlusion_map_and_feature_maps(classifier, seven):
    explanation = classifier.classify(seven, explain="full").model_dump()["digits"][0][
        "explanation"
    ]
    assert set(explanation) == {"frame", "occlusion", "feature_maps"}
    assert [maps["layer"] for maps in explanation["feature_maps"]] == ["conv1", "conv2"]
    drawn = [explanation["occlusion"], *(maps["png"] for maps in explanation["feature_maps"])]
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in drawn]
    assert {(picture.format, picture.mode) for picture in pictures} == {("PNG", "L")}
    assert pictures[0].size == (28, 28)
    assert all(picture.getextrema() == (0, 255) for picture in pictures)


def test_only_the_first_digits_of_many_are_explained_in_full(classifier, seven, one, monkeypatch):
    monkeypatch.setattr(explain, "MOST", 1)
    result = classifier.classify(side_by_side(seven, one), mode="multiple", explain="full")
    given = [set(digit.explanation.model_dump()) for digit in result.digits]
    assert given == [{"frame", "occlusion", "feature_maps"}, {"frame"}]


def test_several_digits_are_read_in_order_in_multiple_mode(classifier, seven, one):
    result = classifier.classify(side_by_side(seven, one), mode="multiple")
    assert result.text == "71"
    assert result.digits[0].box[0] < result.digits[1].box[0]


def test_several_digits_are_marked_in_single_mode(classifier, seven):
    result = classifier.classify(side_by_side(seven, seven))
    assert (result.needs_review, result.reason) == (True, "several_digits")


def test_an_uncertain_digit_is_marked_for_review(seven):
    shipped = bundle.load()
    decision = shipped.manifest.decision.model_copy(update={"threshold": 1.0})
    manifest = shipped.manifest.model_copy(update={"decision": decision})
    result = Classifier(replace(shipped, manifest=manifest)).classify(seven)
    assert (result.text, result.needs_review, result.reason) == ("7", True, "low_confidence")


def test_a_higher_temperature_lowers_the_confidence(classifier, seven):
    shipped = bundle.load()
    decision = shipped.manifest.decision.model_copy(update={"temperature": 10.0})
    manifest = shipped.manifest.model_copy(update={"decision": decision})
    hot = Classifier(replace(shipped, manifest=manifest)).classify(seven)
    cold = classifier.classify(seven)
    assert hot.digits[0].digit == cold.digits[0].digit
    assert hot.digits[0].confidence < cold.digits[0].confidence


def test_a_batch_gives_the_same_as_single_frames(classifier):
    frames = np.random.default_rng(0).random((7, 28, 28), np.float32)
    alone = np.concatenate([classifier.logits(frame[np.newaxis]) for frame in frames])
    np.testing.assert_allclose(classifier.logits(frames), alone, atol=1e-4)


def test_max_bytes_is_respected(classifier, seven):
    with pytest.raises(TooLarge):
        classifier.classify(seven, max_bytes=100)


@pytest.mark.parametrize("tflite", [b"", b"not a model" * 100])
def test_a_file_that_is_not_a_classifier_raises(tflite):
    with pytest.raises(ModelUnavailable, match="LiteRT"):
        Classifier(replace(bundle.load(), classifier=tflite))


@pytest.mark.parametrize("tflite", [b"", b"not a model" * 100])
def test_a_file_that_is_not_a_segmentation_network_raises(tflite):
    with pytest.raises(ModelUnavailable, match="cannot load the segmentation network"):
        Classifier(replace(bundle.load(), segmenter=tflite))


def test_a_digit_below_the_configured_probability_is_marked_for_review(seven):
    shipped = bundle.load()
    sure = shipped.config.classification.model_copy(update={"sure_digit": 1.0})
    config = shipped.config.model_copy(update={"classification": sure})
    result = Classifier(replace(shipped, config=config)).classify(seven)
    assert (result.text, result.reason) == ("7", "low_confidence")


def test_threads_may_share_one_classifier(classifier, seven, one):
    wrong = []

    def read(data, truth):
        wrong.extend(text for _ in range(20) if (text := classifier.classify(data).text) != truth)

    threads = [threading.Thread(target=read, args=args) for args in [(seven, "7"), (one, "1")] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def side_by_side(left, right):
    """One page with both digits, a margin between them."""
    images = [np.asarray(Image.open(io.BytesIO(data)).convert("L")) for data in (left, right)]
    paper = [255 - image if np.median(image) < 128 else image for image in images]
    page = np.hstack([Image.fromarray(image).resize((180, 240)) for image in paper])
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    return buffer.getvalue()
