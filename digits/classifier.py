"""The classifier: read images with the model of a bundle.

It runs the classifier's network on frames, calibrates the logits to probabilities, and decides by
the bundle's thresholds which digits need review. Importing this module loads no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from digits import explain as why
from digits import image, inputs, orientation, reading
from digits.finder import Segmenter
from digits.image import Picture
from digits.inputs import Input
from digits.quiet import nothing_on_stderr
from digits.reading import ClassifiedMark, Lines
from digits.recognition.classification import (
    FrameClassifier,
    Frames,
    Logits,
    Network,
    Probabilities,
    softmax,
)
from digits.registry.bundle import Bundle
from digits.results import Digit, Explain, ImageInfo, Mode, Reason, Result

# Decimal places of probabilities in results: enough to distinguish 0.999999 from 1, and without
# floating-point noise in labels, which users compare.
_DECIMALS = 6


class Classifier:
    """Reads the digits of images with the model of one bundle. Thread-safe.

    Parameters
    ----------
    bundle
        The model bundle, from `bundle.load` or `registry.fetch`.

    Raises
    ------
    ModelUnavailable
        If LiteRT cannot load one of the two networks, or its inputs or outputs are not as expected.

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
        with nothing_on_stderr():  # LiteRT prints a line about XNNPACK
            self._network = Network(bundle.classifier)
            self.segmenter = Segmenter(bundle.segmenter, bundle.config.segmentation)
        self.classify_frames = FrameClassifier(
            self._network, bundle.manifest.decision, bundle.config
        )

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
            An image file of a supported format, as bytes, as a path, or as a file that is open in
            binary mode; or pixels, as a Pillow image or a NumPy array. An array has the shape
            (height, width), (height, width, 3) for RGB or (height, width, 4) for RGBA, and the
            dtype uint8 (0 to 255), uint16 (0 to 65,535), bool or float (0 to 1); 0 is black.
        mode
            ``"single"`` reads the largest digit, and marks the result for review if the image
            clearly has several. ``"multiple"`` reads all digits: lines from top to bottom, each
            from left to right.
        explain
            The explanation that is added to each digit: ``"frame"``, the classifier's 28×28 input;
            ``"full"``, also an occlusion map and feature maps, for the first 32 digits.
        max_bytes
            The largest image file that is read.

        Raises
        ------
        ImageError
            `TooLarge`, `UnsupportedFormat` or `UnreadableImage`; a retry cannot succeed.
        WrongInput
            If `data` has an unsupported type, or an array an unsupported dtype, range or shape.
        OSError
            If the file does not exist or cannot be read.
        """
        picture = inputs.picture_of(data, max_bytes=max_bytes)
        return self.read(picture, mode=mode, explain=explain)

    def read(
        self, picture: Picture, *, mode: Mode = "single", explain: Explain | None = None
    ) -> Result:
        """Read the digit, or all the digits, of a decoded picture; parameters as for `classify`."""
        lines = reading.read(picture, self.classify_frames, self.segmenter)
        return self._result(picture, lines, mode, explain)

    def read_all(self, pictures: Sequence[Picture], *, mode: Mode = "single") -> list[Result]:
        """Read several decoded pictures; the results equal those of `read`.

        Pictures that are normalised like MNIST's are classified in one batch, which takes less
        time. Batches of more than 64 gain nothing more.
        """
        every = reading.read_all(pictures, self.classify_frames, self.segmenter)
        return [
            self._result(picture, lines, mode)
            for picture, lines in zip(pictures, every, strict=True)
        ]

    def logits(self, frames: Frames) -> Logits:
        """See `Network.logits`."""
        return self._network.logits(frames)

    def probabilities(self, frames: Frames) -> Probabilities:
        """Return calibrated probabilities, float64 (n, 10), of frames, float32 (n, 28, 28)."""
        return softmax(self.logits(frames), self.manifest.decision.temperature)

    def _result(
        self, picture: Picture, lines: Lines, mode: Mode, explain: Explain | None = None
    ) -> Result:
        whole: Reason | None = None  # applies to all digits
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
        return len(marks) > 1 and orientation.is_turned(np.stack(marks), self.classify_frames)

    def _answer(
        self, found: ClassifiedMark, *, whole: Reason | None, explain: Explain | None
    ) -> Digit:
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


def _text(line_lengths: Sequence[int], digits: Sequence[Digit]) -> str | None:
    """Join the digits of each line, and the lines by newlines; None if there are no digits.

    A glyph that is not a digit is written as ``?``.
    """
    symbols = iter("?" if digit.reason == "not_a_digit" else str(digit.digit) for digit in digits)
    lines = ["".join(next(symbols) for _ in range(length)) for length in line_lengths]
    return "\n".join(lines) or None
