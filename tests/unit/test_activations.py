"""Feature maps: the activations of the first convolutions, for any architecture."""

from __future__ import annotations

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from digits import activations
from digits.activations import Activations
from digits.recognition.classification import Network
from digits.registry import bundle
from training_job import export
from training_job.classifier.model import ARCHITECTURES, activation_of, up_to, with_ood_output


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).random((2, 28, 28), np.float32)


@pytest.fixture
def made(monkeypatch) -> list:
    """Every interpreter that is made to look inside."""
    interpreters = []
    original = activations.Interpreter

    def make(**settings):
        interpreters.append(original(**settings))
        return interpreters[-1]

    monkeypatch.setattr(activations, "Interpreter", make)
    return interpreters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_maps_equal_those_of_keras_and_of_training(name, frames):
    keras.utils.set_random_seed(3)
    model = ARCHITECTURES[name]()
    for layer in model.layers:  # a normalisation that does nothing could be left out unseen
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(np.random.default_rng(1).uniform(0.2, 1, (4, *layer.gamma.shape)))
    inside = Activations(export._litert(with_ood_output(model)))

    for frame in frames:
        found = inside(frame)
        assert [layer for layer, _ in found] == ["conv1", "conv2"]
        for layer, maps in found:
            expected = up_to(model, activation_of(model, layer))(frame[np.newaxis, ..., np.newaxis])
            np.testing.assert_allclose(maps, np.asarray(expected)[0], atol=1e-5)


def test_the_interpreter_of_feature_maps_is_created_once_on_the_first_call(made, frames):
    network = Network(bundle.load().classifier)
    network.logits(frames)
    assert not made

    network.activations(frames[0])
    network.activations(frames[1])
    assert len(made) == 1


def test_threads_share_the_feature_maps_interpreter_from_the_first_frame(made):
    frames = np.random.default_rng(2).random((6, 28, 28), np.float32)
    alone = Activations(bundle.load().classifier)
    expected = [alone(frame)[1][1] for frame in frames]
    shared, start, wrong = Activations(bundle.load().classifier), threading.Barrier(6), []

    def ask(place):
        start.wait()
        for _ in range(20):
            if not np.array_equal(shared(frames[place])[1][1], expected[place]):
                wrong.append(place)

    threads = [threading.Thread(target=ask, args=[place]) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(made) == 2


def test_feature_maps_write_nothing_to_standard_error():
    code = (
        "import numpy; from digits import bundle; from digits.activations import Activations;"
        "Activations(bundle.load().classifier)(numpy.zeros((28, 28), numpy.float32))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b""
