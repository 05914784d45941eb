"""The tile segmenter: targets, network, training, checkpoints and fingerprints."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer

from digits.recognition.network import Segmenter
from digits.recognition.outputs import CELL, DIGIT, HALF, KINDS, MARK, UNIT
from digits.registry import bundle
from digits.registry.object_store import FolderStore
from training_job import fingerprint
from training_job.checkpoint import Checkpoint
from training_job.progress import RunProgress
from training_job.segmenter import litert
from training_job.synthesis.photographs import SyntheticScene
from training_job.tile_segmenter import __main__ as command
from training_job.tile_segmenter import fit, targets, trained
from training_job.tile_segmenter.network import network
from training_job.tile_segmenter.targets import FINE, Targets


@pytest.fixture(autouse=True)
def _eager():
    """Without XLA, which compiles for half a minute."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def two_marks() -> SyntheticScene:
    """A digit of 10 by 20 pixels and a mark of 12 by 6, and a speck of 2 pixels."""
    owner = np.zeros((64, 64), np.uint16)
    owner[20:40, 10:20] = 1
    owner[4:10, 40:52] = 2
    owner[60, 60:62] = 3
    kind = np.array([0, DIGIT, MARK, MARK], np.uint8)[owner]
    return SyntheticScene(
        np.where(owner > 0, 30, 220).astype(np.uint8), kind, owner, ("7", "-", "")
    )


def several(count: int) -> Targets:
    ones = [targets.targets(two_marks()) for _ in range(count)]
    return Targets(*map(np.concatenate, zip(*(one.arrays() for one in ones), strict=True)))


def test_offsets_point_to_the_centre_and_sizes_are_the_longer_sides():
    one = targets.targets(two_marks())
    for (x, y), (row, column), side in (((14.5, 29.5), (12, 6), 20), ((45.5, 6.5), (3, 22), 12)):
        offset = one.offset[0, row, column] / FINE
        place = np.array([column, row]) * HALF + 0.5
        np.testing.assert_allclose(place + offset, (x, y), atol=1 / FINE)
        assert one.size[0, row, column] == side
    assert one.size[0, 0, 0] == 0
    assert one.size[0, 30, 30] == 0, "a speck has no targets"
    assert np.count_nonzero(one.size) == 10 * 5 + 3 * 6


def test_a_glyph_larger_than_the_network_knows_has_no_centre():
    owner = np.zeros((96, 128), np.uint16)
    owner[4 : 4 + targets.LARGEST + 1, 10:20] = 1
    owner[4 : 4 + targets.LARGEST, 90:100] = 2
    one = targets.targets(
        SyntheticScene(np.zeros((96, 128), np.uint8), np.zeros_like(owner), owner, ("1",))
    )
    assert one.centre[0, :, :16].max() == 0 < one.centre[0, :, 16:].max()
    assert (one.size[0, 10, [5, 45]] == (targets.LARGEST + 1, targets.LARGEST)).all()


def test_the_centre_heat_map_peaks_at_each_centre():
    one = targets.targets(two_marks())
    assert one.centre.shape == (1, 64 // CELL, 64 // CELL)
    peaks = np.argwhere(one.centre[0] > 255 * fit._SURE)
    assert {tuple(peak) for peak in peaks.tolist()} >= {(7, 3), (1, 11)}
    assert one.centre[0, 15, 15] == 0


def test_an_empty_scene_has_empty_targets():
    blank = np.zeros((32, 32), np.uint8)
    one = targets.targets(SyntheticScene(blank, blank, blank.astype(np.uint16), ()))
    assert not one.centre.any() and not one.size.any() and not one.offset.any()


def test_rendered_scenes_are_stored_and_loaded_again(tmp_path, monkeypatch):
    class Here:
        """Maps in this process."""

        def __init__(self, **_):
            self.map = lambda function, values, chunksize: map(function, values)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(targets, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(targets, "_of_seed", lambda _: targets.targets(two_marks()))
    first = targets.rendered(3, tmp_path, "this", RunProgress())
    monkeypatch.setattr(targets, "_of_seed", lambda _: pytest.fail("rendered again"))
    again = targets.rendered(3, tmp_path, "this", RunProgress())
    assert len(first) == len(again) == 3
    for one, other in zip(first.arrays(), several(3).arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(targets, "_of_seed", lambda _: targets.targets(two_marks()))
    targets.rendered(2, tmp_path, "other", RunProgress())
    assert [path.name for path in tmp_path.iterdir()] == ["scenes-other"]


def test_the_networks_outputs_have_their_strides_and_channels():
    kind, centre, glyph = network(training=False)(np.zeros((2, 48, 64, 1), np.float32))
    assert kind.shape == (2, 48, 64, KINDS)
    assert centre.shape == (2, 12, 16, 1)
    assert glyph.shape == (2, 24, 32, 3)


def test_the_recogniser_runs_what_training_writes():
    keras.utils.set_random_seed(1)
    fitted = network(training=False)
    written = litert(fitted)
    segmenter = pickle.loads(pickle.dumps(Segmenter(written, trained.config().segmentation)))
    grey = two_marks().grey[:48]
    kind, heat, offsets, sizes = segmenter(grey)
    given = fitted(grey[None, ..., None].astype(np.float32) / 255, training=False)
    np.testing.assert_allclose(kind, keras.ops.softmax(given[0])[0], atol=1e-4)
    np.testing.assert_allclose(heat, keras.ops.sigmoid(given[1])[0, ..., 0], atol=1e-4)
    np.testing.assert_allclose(offsets, given[2][0, ..., :2] * UNIT, atol=1e-2)
    octaves = np.clip(given[2][0, ..., 2], -4, 4)
    np.testing.assert_allclose(sizes, UNIT * 2**octaves, rtol=1e-3)


def test_steps_on_one_batch_lower_each_loss():
    keras.utils.set_random_seed(1)
    run, arrays = (
        fit.TileSegmenterTrainer(20),
        [tf.constant(one) for one in fit.batch(several(2), 1, 0)],
    )
    first, *_, last = [np.array(run.step(*arrays)) for _ in range(6)]
    assert (last < first).all()


def test_correct_outputs_have_the_lowest_loss():
    arrays = several(1).arrays()[1:]
    kind, centre, offset, size = arrays
    logits = np.eye(KINDS, dtype=np.float32)[kind] * 20
    peaks = np.where(centre > 255 * fit._SURE, 10.0, -10.0).astype(np.float32)[..., None]
    octaves = np.log2(np.maximum(size, 1) / UNIT)
    glyph = np.concatenate([offset / (FINE * UNIT), octaves[..., None]], -1).astype(np.float32)
    right = np.array(fit.losses((logits, peaks, glyph), *arrays))
    assert (right < 0.05).all()
    for worse in ((-logits, peaks, glyph), (logits, -peaks, glyph), (logits, peaks, glyph + 1)):
        wrong = np.array(fit.losses(worse, *arrays))
        assert (wrong > right + 1).sum() == 1


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_CHECKPOINT_STEPS", 2)
    scenes = several(3)
    straight = fit.fit(scenes, 3, 7, RunProgress(), Checkpoint(FolderStore(tmp_path), "a", "this"))

    cut = Checkpoint(FolderStore(tmp_path), "b", "this")
    batch = fit.batch
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit, "batch", lambda *a: batch(*a) if a[-1] < 2 else _interrupted())
        fit.fit(scenes, 3, 7, RunProgress(), cut)
    assert cut.load().epoch == 2
    resumed = fit.fit(scenes, 3, 7, RunProgress(), cut)

    for one, other in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def _interrupted():
    raise KeyboardInterrupt


def test_an_epoch_visits_every_scene_once(monkeypatch):
    monkeypatch.setattr(fit, "BATCH", 2)
    scenes = several(6)
    scenes.kind[:, 0, 0] = np.arange(6)  # marks the scene
    shown = [fit.batch(scenes, 1, step)[1][:, 0, 0].tolist() for step in range(6)]
    for turn in (shown[:3], shown[3:]):
        assert sorted(number for batch in turn for number in batch) == list(range(6))


def test_training_can_start_from_trained_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "rendered", lambda *_: several(fit.BATCH))
    before, after = tmp_path / "before", tmp_path / "after"
    for out in (before, after):
        out.mkdir()
    command.main(out=before, steps=1)
    kept_before = before / "segmenter.keras"
    given = {}
    monkeypatch.setattr(fit, "fit", lambda *a: given.update(start=a[-2]) or a[-2])
    command.main(out=after, steps=1, seed=2, start_from=kept_before)
    expected = keras.models.load_model(kept_before, compile=False).get_weights()
    for one, other in zip(given["start"], expected, strict=True):
        np.testing.assert_array_equal(one, other)
    run = fit.TileSegmenterTrainer(1, given["start"])
    for one, other in zip(run.averaged(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("where", [bundle.SHIPPED, bundle.SHIPPED / "below"])
def test_training_never_writes_over_what_ships(where, monkeypatch):
    monkeypatch.setattr(command, "rendered", lambda *_: pytest.fail("it began"))
    with pytest.raises(typer.BadParameter, match="in the bundle that ships"):
        command.main(out=where)


def test_scenes_are_stored_under_the_fingerprint_of_their_inputs(tmp_path, monkeypatch):
    class Rendered(Exception):
        pass

    asked = []

    def rendered(count, out, fingerprint, _):
        asked.append(fingerprint)
        raise Rendered

    monkeypatch.setattr(command, "rendered", rendered)
    for settings in ({}, {"seed": 2}, {"steps": 9}, {"count": 32}):
        with pytest.raises(Rendered):
            command.main(**{"out": tmp_path, "count": 16} | settings)
    assert asked[0] == asked[1] == asked[2] != asked[3]
    monkeypatch.setattr(fingerprint, "_sha256", lambda path: path.name)
    with pytest.raises(Rendered):
        command.main(out=tmp_path, count=16)
    assert asked[-1] != asked[0]


def test_a_fingerprint_is_of_every_module_that_is_imported():
    found = fingerprint.imported("training_job.tile_segmenter.fit")
    assert found > fingerprint.imported("training_job.tile_segmenter.targets")
    assert found >= {
        "digits.recognition.outputs",
        "training_job.glyphs",
        "training_job.strokes",
        "training_job.synthesis.printed",
        "training_job.tile_segmenter.network",
    }


def test_the_command_renders_before_it_imports_tensorflow():
    script = (
        "import sys, training_job.tile_segmenter.__main__, training_job.tile_segmenter.targets;"
        "print(*{'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.split() == []
