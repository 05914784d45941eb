"""The recognition pipeline: segment glyphs, group lines, find best paths, decide.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.image import Picture, without_enlargement
from digits.recognition import normalisation
from digits.recognition.classification import ClassifyFrames
from digits.recognition.config import PageConfig
from digits.recognition.glyphs import Glyph, Plane
from digits.recognition.lattice import Candidate, Lattice, PathSegment
from digits.recognition.lines import text_lines
from digits.recognition.network import Segmenter
from digits.recognition.plain import standing_alone
from digits.recognition.segmentation import segment

Box = tuple[int, int, int, int]
Frames = NDArray[np.float32]

# Both chosen by eye on development pictures.
_BORDER = (
    0.01  # share of the picture's longer side: distance up to which a glyph touches the border
)
_BESIDE = 0.5  # share of the largest digit's height above which another glyph is taken into account
_CERTAIN = 1e-4  # distance from 0 and 1 to which probabilities are clipped, for finite log-odds


@dataclass(frozen=True)
class RecognisedGlyph:
    """One glyph of a picture as it was read.

    Attributes
    ----------
    frame : float32 (28, 28)
        The classifier's input: white ink on black in 0..1.
    box : tuple of four int
        x, y, width and height in pixels of the upright full-size image.
    probabilities : float64 (10,)
        Calibrated probability of each digit, given that it is a digit.
    is_digit : bool
        Whether it was read as a digit, and not as other handwriting.
    accepted : bool
        Whether the digit needs no review.
    """

    frame: Plane
    box: Box
    probabilities: NDArray[np.float64]
    is_digit: bool
    accepted: bool


Lines = tuple[tuple[RecognisedGlyph, ...], ...]
"""Text lines from top to bottom, each from left to right."""


class Recogniser:
    """Reads pictures with a classifier and a segmentation network. Thread-safe.

    Parameters
    ----------
    classify_frames
        The classifier.
    segmenter
        The segmentation network.
    config
        Thresholds and weights.
    """

    def __init__(
        self, classify_frames: ClassifyFrames, segmenter: Segmenter, config: PageConfig
    ) -> None:
        self.classify_frames, self.segmenter, self.config = classify_frames, segmenter, config

    def read(self, picture: Picture) -> Lines:
        """Read the glyphs of a picture; empty for a blank picture."""
        return self.read_all([picture])[0]

    def read_all(self, pictures: Sequence[Picture]) -> list[Lines]:
        """Read several pictures as `read`; those normalised like MNIST's are classified at once."""
        ready = [normalisation.already_normal(picture.grey) for picture in pictures]
        normal = iter(self._classify_frames([one for one in ready if one is not None]))
        return [
            self._read(picture) if frame is None else ((next(normal),),)
            for picture, frame in zip(pictures, ready, strict=True)
        ]

    def _read(self, given: Picture) -> Lines:
        picture = without_enlargement(given)
        if (plain := standing_alone(picture)) is not None:
            (only,) = self._classify_frames([plain])
            if only.accepted:
                return ((only,),)
        lines = self._read_page(picture)
        if not lines and (coloured := given.by_colour()) is not None:
            lines = self._read_page(coloured)
        return lines

    def _read_page(self, picture: Picture) -> Lines:
        lattice = Lattice(self._evaluate, self.config.lattice)

        def quality(glyphs: Sequence[Glyph]) -> list[float]:
            """Return the candidates' quality, lowered for a contrast below the threshold."""
            least = self.config.lattice.contrast
            return [
                one.quality * min(1.0, one.contrast / least)
                for one in lattice.candidates([[glyph] for glyph in glyphs])
            ]

        glyphs = segment(picture, self.segmenter, quality)
        sure = [
            one.digit > self.config.lattice.likely
            for one in lattice.candidates([[glyph] for glyph in glyphs])
        ]
        paths = [lattice.best_path(line) for line in text_lines(glyphs, sure)]
        return tuple(
            tuple(self._recognised(one, picture) for one in path)
            for path in _without_specks(paths, self.config.lattice.stray)
        )

    def _evaluate(self, glyphs: Sequence[Glyph]) -> list[Candidate]:
        """Classify glyphs, and combine the outputs of both networks."""
        frames, contrasts = zip(*map(normalisation.frame_and_contrast, glyphs), strict=True)
        given = self.classify_frames(np.stack(frames))
        weights = self.config.lattice
        log_odds = digit_log_odds(
            given.digit,
            np.array([glyph.digit for glyph in glyphs]),
            np.array([glyph.score for glyph in glyphs]),
        )
        digit = 1 / (1 + np.exp(-(log_odds @ weights.log_odds_weights + weights.bias)))
        sure = given.accepted & (np.array(contrasts) >= weights.contrast)
        return [
            Candidate(glyph, frame, row, float(one), bool(is_sure), contrast)
            for glyph, frame, row, one, is_sure, contrast in zip(
                glyphs, frames, given.probabilities, digit, sure, contrasts, strict=True
            )
        ]

    def _recognised(self, segment: PathSegment, picture: Picture) -> RecognisedGlyph:
        candidate = segment.candidate
        scale = max(picture.grey.shape) / max(picture.width, picture.height)
        boxes = [normalisation.box_of(glyph, picture.grey, scale) for glyph in segment.parts]
        (left, top), (right, bottom) = np.min(boxes, 0)[:2], np.max(boxes, 0)[2:]
        x, y = max(0, int(left)), max(0, int(top))
        width = min(picture.width, int(np.ceil(right))) - x
        height = min(picture.height, int(np.ceil(bottom))) - y
        return RecognisedGlyph(
            candidate.frame,
            (x, y, width, height),
            candidate.probabilities,
            segment.is_digit,
            segment.is_digit and candidate.sure and candidate.digit >= self.config.lattice.accepted,
        )

    def _classify_frames(self, ready: Sequence[tuple[Plane, Box]]) -> list[RecognisedGlyph]:
        """Classify frames that need no normalisation."""
        if not ready:
            return []
        given = self.classify_frames(np.stack([frame for frame, _ in ready]))
        return [
            RecognisedGlyph(frame, box, row, bool(is_digit), bool(accepted))
            for (frame, box), row, is_digit, accepted in zip(
                ready, given.probabilities, given.is_digit, given.accepted, strict=True
            )
        ]


def _without_specks(paths: list[list[PathSegment]], stray: float) -> list[list[PathSegment]]:
    """Leave out lines without digits whose glyphs are all smaller than `stray`.

    `stray` is a share of the digits' median height. In a picture without digits, all are kept.
    """
    heights = [one.height for path in paths for one in path if one.is_digit]
    least = stray * float(np.median(heights)) if heights else 0.0
    return [path for path in paths if any(one.is_digit or one.height >= least for one in path)]


@dataclass(frozen=True)
class SingleDigit:
    """The digit of a picture that should have only one.

    Attributes
    ----------
    mark : RecognisedGlyph or None
        The largest accepted digit, or the largest glyph if no digit is accepted; None if the
        picture is blank.
    several : bool
        Whether the picture has several accepted digits of at least half its height.
    unread : bool
        Whether it is accepted, but another glyph of at least half its height is not. The digit may
        be a part of that glyph.
    """

    mark: RecognisedGlyph | None
    several: bool
    unread: bool


def single_digit(lines: Lines, picture: Picture) -> SingleDigit:
    """Select the digit of a picture that should have only one.

    Glyphs that touch the border and are not accepted are taken for parts of neighbours, and ignored
    if there are other glyphs.
    """
    marks = [mark for line in lines for mark in line]
    marks = [mark for mark in marks if mark.accepted or not _is_cut(mark, picture)] or marks
    if not marks:
        return SingleDigit(None, several=False, unread=False)
    some = [mark for mark in marks if mark.accepted] or marks
    largest = max(some, key=lambda mark: mark.box[2] * mark.box[3])
    beside = [mark for mark in marks if mark.box[3] > _BESIDE * largest.box[3]]
    accepted = [mark.accepted for mark in beside]
    return SingleDigit(largest, sum(accepted) > 1, unread=largest.accepted and not all(accepted))


def _is_cut(mark: RecognisedGlyph, picture: Picture) -> bool:
    """Whether a glyph touches the picture's border."""
    x, y, width, height = mark.box
    margin = _BORDER * max(picture.width, picture.height)
    return (
        min(x, y) <= margin
        or x + width >= picture.width - margin
        or y + height >= picture.height - margin
    )


def digit_log_odds(*probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the features of the regression for the probability of a digit: log-odds (n, 3).

    Parameters
    ----------
    *probabilities : float64 (n,), three times
        Of being a digit by the classifier, of being a digit by the segmentation network, and of the
        pixels being handwriting.
    """
    return np.stack([_log_odds(one) for one in probabilities], axis=1)


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = probabilities.clip(_CERTAIN, 1 - _CERTAIN)
    return np.asarray(np.log(clipped / (1 - clipped)))
