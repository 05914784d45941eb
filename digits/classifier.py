"""Frames to logits to calibrated probabilities to a decision: the recogniser itself.

A `Classifier` is made from a bundle and handed to whoever needs it; nothing is loaded on import.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from digits import explain as why
from digits import image, inputs, orientation, reading
from digits.activations import Activations
from digits.config import RecognitionConfig
from digits.errors import ModelUnavailable
from digits.finder import Segmenter
from digits.image import Picture
from digits.inputs import Input
from digits.quiet import nothing_on_stderr
from digits.reading import Found, Lines, Opinions
from digits.registry.bundle import Bundle, Decision
from digits.results import Digit, Explain, ImageInfo, Mode, Reason, Result

Frames = NDArray[np.float32]
Logits = NDArray[np.float32]
LogOdds = NDArray[np.float32]
Probabilities = NDArray[np.float64]

# Enough to tell 0.999999 from 1, and no float noise in a label that people diff.
_DECIMALS = 6


class Network:
    """A LiteRT network from frames to logits, in float32 on one thread.

    One thread, because more of them make the tail slower for a network this small. Safe to share
    between threads: the interpreter, which is not, sits behind a lock.

    Parameters
    ----------
    tflite
        The model file's bytes. It gives ten logits, and besides, in a bundle, the log-odds of the
        frame showing a digit at all.

    Raises
    ------
    ModelUnavailable
        If they are no LiteRT model from (n, 28, 28, 1) to ten logits.
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
        self._input, self._logits, self._opinion = takes["index"], gives[(10,)], gives.get((1,))
        self._batch = int(takes["shape"][0])
        self.activations = Activations(tflite)

    def logits(self, frames: Frames) -> Logits:
        """The unnormalised score of each digit, float32 (n, 10); `frames` as for `run`."""
        return self.run(frames)[0]

    def run(self, frames: Frames) -> tuple[Logits, LogOdds]:
        """Run the network.

        Parameters
        ----------
        frames : float32 (n, 28, 28)
            White ink on black in 0..1, as `digits.preprocess` makes them.

        Returns
        -------
        logits : float32 (n, 10)
            The unnormalised score of each digit.
        opinion : float32 (n,)
            The log-odds of the frame showing a digit at all; infinite where the model has no
            opinion.
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
            if self._opinion is None:
                return logits, np.full(len(batch), np.inf, np.float32)
            return logits, self._interpreter.get_tensor(self._opinion)[:, 0]


class NetworkJudge:
    """Judges frames by a network, and by the decision and configuration of its bundle."""

    def __init__(self, network: Network, decision: Decision, config: RecognitionConfig) -> None:
        self._network, self._decision = network, decision
        self._sure_digit = decision.review_threshold(config)

    def __call__(self, frames: Frames) -> Opinions:
        """See `digits.reading.Opinions`; `frames` as for `Network.run`."""
        logits, log_odds = self._network.run(frames)
        probabilities = softmax(logits, self._decision.temperature)
        digit = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
        is_digit = digit >= self._decision.digit_threshold
        sure = probabilities.max(axis=1) >= self._decision.threshold
        sure &= digit >= self._sure_digit
        return Opinions(probabilities, digit, is_digit, sure)


class Classifier:
    """Reads digits with the model of one bundle. Safe to share between threads.

    Parameters
    ----------
    bundle
        The model, read and checked.

    Raises
    ------
    ModelUnavailable
        If LiteRT cannot load one of the two networks, or it has other inputs or outputs.

    Examples
    --------
    >>> from digits import Classifier, bundle
    >>> classifier = Classifier(bundle.load())
    >>> classifier.classify("tests/golden/seven.png").text
    '7'
    """

    def __init__(self, bundle: Bundle) -> None:
        self.manifest = bundle.manifest
        self.model_info = bundle.model_info
        with nothing_on_stderr():  # LiteRT greets with a line about XNNPACK
            self._network = Network(bundle.classifier)
            self.segmenter = Segmenter(bundle.segmenter, bundle.config.segmentation)
        self.judge = NetworkJudge(self._network, bundle.manifest.decision, bundle.config)

    def classify(
        self,
        data: Input,
        *,
        mode: Mode = "single",
        explain: Explain | None = None,
        max_bytes: int = image.MAX_BYTES,
    ) -> Result:
        """Read the digit, or all the digits, of one image.

        Parameters
        ----------
        data
            An image file of any of the published formats, as bytes, as a path, or as a file that is
            open in binary mode; or pixels, as a Pillow image or a NumPy array. An array has the
            shape (height, width), (height, width, 3) for RGB or (height, width, 4) for RGBA, and
            the dtype uint8 (0 to 255), uint16 (0 to 65,535), bool or float (0 to 1): 0 is black.
        mode
            ``"single"`` reads the one digit of the picture and marks a picture that plainly holds
            more; ``"multiple"`` reads them all, lines top to bottom, each left to right.
        explain
            What each digit carries to say why: ``"frame"``, the 28×28 frame that the network was
            shown; ``"full"``, an occlusion map and feature maps beside it, for the first 32 digits.
        max_bytes
            The most bytes of an image file that are read.

        Raises
        ------
        ImageError
            `TooLarge`, `UnsupportedFormat` or `UnreadableImage`: no retry will mend it.
        WrongInput
            If `data` is of another type, or an array of another dtype, range or shape.
        OSError
            If there is no such file, or it cannot be read.
        """
        picture = inputs.picture_of(data, max_bytes=max_bytes)
        return self.read(picture, mode=mode, explain=explain)

    def read(
        self, picture: Picture, *, mode: Mode = "single", explain: Explain | None = None
    ) -> Result:
        """Read the digit, or all the digits, of a decoded picture; otherwise as `classify`."""
        lines = reading.read(picture, self.judge, self.segmenter)
        return self._result(picture, lines, mode, explain)

    def read_all(self, pictures: Sequence[Picture], *, mode: Mode = "single") -> list[Result]:
        """Read many decoded pictures, each as by `read`.

        Those that are made as MNIST's are go through the network at once, which takes less time;
        64 of them are enough for that.
        """
        every = reading.read_all(pictures, self.judge, self.segmenter)
        return [
            self._result(picture, lines, mode)
            for picture, lines in zip(pictures, every, strict=True)
        ]

    def logits(self, frames: Frames) -> Logits:
        """See `Network.logits`."""
        return self._network.logits(frames)

    def probabilities(self, frames: Frames) -> Probabilities:
        """Calibrated probabilities, float64 (n, 10), of float32 frames (n, 28, 28)."""
        return softmax(self.logits(frames), self.manifest.decision.temperature)

    def _result(
        self, picture: Picture, lines: Lines, mode: Mode, explain: Explain | None = None
    ) -> Result:
        whole: Reason | None = None  # of every mark
        if mode == "single":
            lines, several = reading.main(lines)
            whole = "several_digits" if several else None
        elif self._is_turned(lines):
            whole = "turned"
        digits = tuple(
            self._answer(
                found,
                whole=whole,
                explain="frame" if explain == "full" and place >= why.MOST else explain,
            )
            for place, found in enumerate(found for line in lines for found in line)
        )
        reasons = [digit.reason for digit in digits if digit.reason]
        if not digits:
            reasons = ["blank"]
        return Result(
            text=_text([len(line) for line in lines], digits),
            needs_review=bool(reasons),
            reason=whole or (reasons[0] if reasons else None),
            digits=digits,
            image=ImageInfo(width=picture.width, height=picture.height, format=picture.format),
            model=self.model_info,
        )

    def _is_turned(self, lines: Lines) -> bool:
        marks = [found.mark.frame for line in lines for found in line]
        return len(marks) > 1 and orientation.is_turned(np.stack(marks), self.judge)

    def _answer(self, found: Found, *, whole: Reason | None, explain: Explain | None) -> Digit:
        digit = int(found.probabilities.argmax())
        reason = whole
        if whole != "several_digits" and not found.accepted:
            reason = "low_confidence" if found.is_digit else "not_a_digit"
        return Digit(
            digit=digit,
            confidence=round(float(found.probabilities.max()), _DECIMALS),
            probabilities=tuple(np.round(found.probabilities, _DECIMALS).tolist()),
            box=found.mark.box,
            needs_review=reason is not None,
            reason=reason,
            explanation=(
                why.explain(found.mark.frame, digit, self._network, explain) if explain else None
            ),
        )


def softmax(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> Probabilities:
    """Probabilities, float64 (n, 10), of logits (n, 10) over a temperature.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    scaled = logits.astype(np.float64) / temperature
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def _text(line_lengths: Sequence[int], digits: Sequence[Digit]) -> str | None:
    """Join the digits of each line, and the lines by newlines; None where there are none."""
    symbols = iter("?" if digit.reason == "not_a_digit" else str(digit.digit) for digit in digits)
    lines = ["".join(next(symbols) for _ in range(length)) for length in line_lengths]
    return "\n".join(lines) or None
