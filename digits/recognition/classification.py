"""Classification of frames: the network, calibrated probabilities, and the reject option."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from digits.activations import Activations
from digits.config import Decision, RecognitionConfig
from digits.errors import ModelUnavailable

Frames = NDArray[np.float32]
Logits = NDArray[np.float32]
LogOdds = NDArray[np.float32]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """The classifier's predictions for n frames.

    Attributes
    ----------
    probabilities : float64 (n, 10)
        Calibrated probability of each digit, given that the frame shows a digit.
    digit : float64 (n,)
        Probability that the frame shows a digit, 0 to 1.
    is_digit : bool (n,)
        Whether `digit` is high enough not to reject the frame.
    accepted : bool (n,)
        Whether the frame is not rejected and the prediction is certain enough to need no review.
    """

    probabilities: NDArray[np.float64]
    digit: NDArray[np.float64]
    is_digit: NDArray[np.bool_]
    accepted: NDArray[np.bool_]


ClassifyFrames = Callable[[Frames], Predictions]
"""Classifies frames, float32 (n, 28, 28) of white ink on black in 0..1."""


class Network:
    """The classifier's network in LiteRT, float32 on one thread. Thread-safe.

    One thread, because for a network this small more threads increase the tail latency. A lock
    protects the interpreter, which is not thread-safe.

    Parameters
    ----------
    tflite
        The bytes of a model file with ten logits as output. In bundles it has a second output, the
        log-odds of the frame showing a digit.

    Raises
    ------
    ModelUnavailable
        If the bytes are not a LiteRT model from (n, 28, 28, 1) to (n, 10).
    """

    def __init__(self, tflite: bytes) -> None:
        self._lock = threading.Lock()
        try:
            self._interpreter = Interpreter(model_content=tflite, num_threads=1)
            self._interpreter.allocate_tensors()
            takes = self._interpreter.get_input_details()[0]
            gives = {
                tuple(end["shape_signature"][1:]): end["index"]
                for end in self._interpreter.get_output_details()
            }
        except (ValueError, RuntimeError, IndexError) as error:
            raise ModelUnavailable(
                "LiteRT cannot load the model; publish the bundle again."
            ) from error
        shape = tuple(takes["shape_signature"][1:])
        if shape != (28, 28, 1) or (10,) not in gives:
            raise ModelUnavailable(
                f"The model maps {shape} to {', '.join(map(str, gives))}, not (28, 28, 1) to (10,);"
                " retrain it."
            )
        self._input, self._logits, self._log_odds = takes["index"], gives[(10,)], gives.get((1,))
        self._batch = int(takes["shape"][0])
        self.activations = Activations(tflite)

    def logits(self, frames: Frames) -> Logits:
        """Return the logits, float32 (n, 10); `frames` as for `run`."""
        return self.run(frames)[0]

    def run(self, frames: Frames) -> tuple[Logits, LogOdds]:
        """Run the network.

        Parameters
        ----------
        frames : float32 (n, 28, 28)
            White ink on black in 0..1, as `digits.preprocess` normalises glyphs.

        Returns
        -------
        logits : float32 (n, 10)
            The logit of each digit.
        log_odds : float32 (n,)
            The log-odds of the frame showing a digit; infinite if the model has no such output.
        """
        batch = np.ascontiguousarray(frames, np.float32)[..., np.newaxis]
        with self._lock:
            if len(batch) != self._batch:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._batch = len(batch)
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            logits: Logits = self._interpreter.get_tensor(self._logits)
            if self._log_odds is None:
                return logits, np.full(len(batch), np.inf, np.float32)
            return logits, self._interpreter.get_tensor(self._log_odds)[:, 0]


class FrameClassifier:
    """Classifies frames: the network, its calibration, and the thresholds of its bundle.

    Parameters
    ----------
    network
        The classifier's network.
    decision
        Temperature and fitted thresholds, from the manifest.
    config
        Thresholds that are chosen by hand, from `config.json`.
    """

    def __init__(self, network: Network, decision: Decision, config: RecognitionConfig) -> None:
        self._network, self._decision = network, decision
        self._sure_digit = decision.review_threshold(config)

    def __call__(self, frames: Frames) -> Predictions:
        """Classify frames, float32 (n, 28, 28) as for `Network.run`."""
        logits, log_odds = self._network.run(frames)
        probabilities = softmax(logits, self._decision.temperature)
        digit = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
        is_digit = digit >= self._decision.digit_threshold
        sure = probabilities.max(axis=1) >= self._decision.threshold
        sure &= digit >= self._sure_digit
        return Predictions(probabilities, digit, is_digit, sure)


def softmax(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> Probabilities:
    """Return the softmax of logits (n, 10) divided by a temperature, float64 (n, 10).

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    scaled = logits.astype(np.float64) / temperature
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
