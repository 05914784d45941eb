"""Metrics of a segmentation network, and its training, which never overwrites the shipped one."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import typer

from digits.finder import Segmenter
from digits.registry import bundle
from training_job import glyphs, rendered_pages, segmentation, segmenter, synthetic_photos
from training_job.classifier import auxiliary
from training_job.rendered_pages import RenderedPage

SHIPPED = bundle.load()
SEGMENTER = Segmenter(SHIPPED.segmenter, SHIPPED.config.segmentation)


def two_glyphs() -> RenderedPage:
    """Two squares of 100 pixels, apart."""
    ink = np.zeros((40, 60), np.float32)
    owner = np.zeros((40, 60), np.uint8)
    for number, left in enumerate((5, 35), start=1):
        ink[10:20, left : left + 10] = 1
        owner[10:20, left : left + 10] = number
    return RenderedPage(np.zeros((40, 60), np.uint8), ink, owner, (7, None))


def box(left: int, width: int) -> np.ndarray:
    mask = np.zeros((40, 60), np.bool_)
    mask[10:20, left : left + width] = True
    return mask


@pytest.mark.parametrize(
    ("instances", "matched"),
    [
        ([], 0),
        ([box(5, 10), box(35, 10)], 2),
        ([box(5, 40)], 0),  # both in one: a union of 400 pixels
        ([box(5, 5), box(10, 5), box(35, 10)], 1),  # one is cut in half
        ([box(5, 6), box(10, 5), box(35, 10)], 2),  # more than half of it in one
        ([box(5, 10), box(35, 10), box(20, 10)], 2),  # a third where there is no glyph
    ],
)
def test_an_instance_is_a_glyph_if_they_share_more_than_half_of_their_union(instances, matched):
    counts = segmentation.count(two_glyphs(), box(5, 40), instances)
    assert (counts.glyphs, counts.found, counts.matched) == (2, len(instances), matched)
    assert (counts.true_ink, counts.found_ink, counts.common_ink) == (200, 400, 200)


def test_the_digest_is_of_the_page_and_of_its_truth():
    one, same = (segmentation.count(two_glyphs(), box(5, 40), []) for _ in range(2))
    other = two_glyphs()
    other.owner[12, 6] = 2
    assert one.sha256 == same.sha256
    assert segmentation.count(other, box(5, 40), []).sha256 != one.sha256


def test_metrics_are_reproducible_and_lower_for_a_worse_network():
    blind = SHIPPED.config.segmentation.model_copy(update={"ink": 0.999})
    with auxiliary.workers(SEGMENTER) as pool:
        first, again = (segmentation.figures(SEGMENTER, 12, pool) for _ in range(2))
        worse = segmentation.figures(Segmenter(SHIPPED.segmenter, blind), 12, pool)
    assert json.dumps(first) == json.dumps(again)
    assert first["sha256"] == worse["sha256"]
    assert first["instances"]["recall"] > 0.7
    assert worse["instances"]["recall"] < first["instances"]["recall"]
    assert worse["ink"]["f1"] < first["ink"]["f1"]


@pytest.mark.parametrize("held_out", [False, True])
def test_a_page_holds_either_what_is_held_out_or_what_is_trained_with(held_out, monkeypatch):
    asked = set()
    for module, name in (
        (glyphs, "load"),
        (synthetic_photos, "random_digit"),
        (glyphs, "random_digit"),
    ):
        draw = getattr(module, name)

        def noted(*args, held_out, draw=draw, name=name, **kwargs):
            asked.add((name, held_out))
            return draw(*args, held_out=held_out, **kwargs)

        monkeypatch.setattr(module, name, noted)
    for seed in range(20):
        rendered_pages.render(seed, held_out=held_out)
    assert asked == {("load", held_out), ("random_digit", held_out)}


def test_the_output_of_training_fits_a_bundle(tmp_path):
    trained = segmenter.network(training=True)
    segmenter.save(trained, tmp_path / "segmenter")
    files = segmentation.files_in(tmp_path / "segmenter")
    assert set(files) == {"segmenter.tflite", "segmenter.keras", "config.json"}
    Segmenter(files["segmenter.tflite"], bundle.parse_config(files["config.json"]).segmentation)
    loaded = keras.models.load_model(tmp_path / "segmenter/segmenter.keras", compile=False)
    assert loaded.count_params() == segmenter.network(training=False).count_params()


@pytest.mark.parametrize("where", [bundle.SHIPPED, bundle.SHIPPED / "segmenter.tflite"])
def test_training_never_writes_over_what_ships(where, monkeypatch):
    monkeypatch.setattr(
        segmenter, "_rendered_examples", lambda *_: pytest.fail("it began to train")
    )
    before = {path: path.stat().st_mtime_ns for path in bundle.SHIPPED.rglob("*")}
    with pytest.raises(typer.BadParameter, match="in the bundle that ships"):
        segmenter.main(out=where)
    assert {path: path.stat().st_mtime_ns for path in bundle.SHIPPED.rglob("*")} == before


def test_training_writes_to_a_folder_of_its_own_by_default():
    assert inspect.signature(segmenter.main).parameters["out"].default == Path("segmenter")
