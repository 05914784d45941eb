"""Recognition, in the order that a picture goes through it: glyphs, lines, lattice, decision.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digits.image import Picture, without_enlargement
from digits.reading import ClassifyFrames
from digits.recognition import normalisation
from digits.recognition.config import PageConfig
from digits.recognition.glyphs import Glyph, Plane
from digits.recognition.lattice import Candidate, Lattice, Reading
from digits.recognition.lines import text_lines
from digits.recognition.network import Segmenter
from digits.recognition.segmentation import segment, standing_alone

Box = tuple[int, int, int, int]
Frames = NDArray[np.float32]

_BORDER = 0.01  # of the picture's longer side: a mark that is nearer to the border touches it
_BESIDE = 0.5  # of the digit's height: what is taller beside it counts
_CERTAIN = 1e-4  # how far from 0 and 1 probabilities are kept, so that their log-odds are finite


@dataclass(frozen=True)
class Mark:
    """One mark of a picture as it was read.

    Attributes
    ----------
    frame : float32 (28, 28)
        What the classifier was shown: white ink on black in 0..1.
    box : tuple of four int
        x, y, width and height in pixels of the upright full-size image.
    probabilities : float64 (10,)
        Of each digit, if it is a digit; calibrated.
    is_digit : bool
        Whether it was read as one.
    accepted : bool
        Whether that needs no review.
    """

    frame: Plane
    box: Box
    probabilities: NDArray[np.float64]
    is_digit: bool
    accepted: bool


Lines = tuple[tuple[Mark, ...], ...]


class Recogniser:
    """Reads pictures with both networks of a bundle. Safe to share between threads.

    Parameters
    ----------
    classify_frames
        The classifier.
    segmenter
        The segmentation network.
    config
        The thresholds of both.
    """

    def __init__(
        self, classify_frames: ClassifyFrames, segmenter: Segmenter, config: PageConfig
    ) -> None:
        self.classify_frames, self.segmenter, self.config = classify_frames, segmenter, config

    def read(self, picture: Picture, *, single: bool = False) -> Lines:
        """Read the marks of a picture: lines top to bottom, each left to right; none of a blank.

        With `single`, a sure digit that plainly stands alone is found by a coarse look.
        """
        return self.read_all([picture], single=single)[0]

    def read_all(self, pictures: Sequence[Picture], *, single: bool = False) -> list[Lines]:
        """As `read`, for each of many; those made as MNIST's are classified at once."""
        ready = [normalisation.already_normal(picture.grey) for picture in pictures]
        normal = iter(self._normal([one for one in ready if one is not None]))
        return [
            self._read(picture, single=single) if frame is None else ((next(normal),),)
            for picture, frame in zip(pictures, ready, strict=True)
        ]

    def _read(self, given: Picture, *, single: bool) -> Lines:
        picture = without_enlargement(given)
        if single:
            mark = self._alone(picture)
            if mark is not None and mark.accepted:
                return ((mark,),)
        lines = self._read_page(picture)
        if not lines and (coloured := given.by_colour()) is not None:
            lines = self._read_page(coloured)
        return lines

    def _alone(self, picture: Picture) -> Mark | None:
        """The digit of a picture that is plain but for it."""
        glyph = standing_alone(picture, self.segmenter)
        if glyph is None:
            return None
        (candidate,) = self._evaluate([glyph])
        return self._mark(Reading(candidate, True, (candidate.glyph,)), picture)

    def _read_page(self, picture: Picture) -> Lines:
        lattice = Lattice(self._evaluate, self.config.lattice)

        def quality(glyphs: Sequence[Glyph]) -> list[float]:
            """What hardly stands out is looked at closer."""
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
            tuple(self._mark(one, picture) for one in path)
            for path in _without_specks(paths, self.config.lattice.stray)
        )

    def _evaluate(self, glyphs: Sequence[Glyph]) -> list[Candidate]:
        """What both networks give for glyph candidates."""
        frames, contrasts = zip(*map(normalisation.frame_and_contrast, glyphs), strict=True)
        given = self.classify_frames(np.stack(frames))
        weights = self.config.lattice
        speaks = evidence(
            given.digit,
            np.array([glyph.digit for glyph in glyphs]),
            np.array([glyph.score for glyph in glyphs]),
        )
        digit = 1 / (1 + np.exp(-(speaks @ weights.of_evidence + weights.bias)))
        sure = given.accepted & (np.array(contrasts) >= weights.contrast)
        return [
            Candidate(glyph, frame, row, float(one), bool(is_sure), contrast)
            for glyph, frame, row, one, is_sure, contrast in zip(
                glyphs, frames, given.probabilities, digit, sure, contrasts, strict=True
            )
        ]

    def _mark(self, reading: Reading, picture: Picture) -> Mark:
        candidate = reading.candidate
        scale = max(picture.grey.shape) / max(picture.width, picture.height)
        boxes = [normalisation.box_of(glyph, picture.grey, scale) for glyph in reading.parts]
        (left, top), (right, bottom) = np.min(boxes, 0)[:2], np.max(boxes, 0)[2:]
        x, y = max(0, int(left)), max(0, int(top))
        width = min(picture.width, int(np.ceil(right))) - x
        height = min(picture.height, int(np.ceil(bottom))) - y
        return Mark(
            candidate.frame,
            (x, y, width, height),
            candidate.probabilities,
            reading.is_digit,
            reading.is_digit and candidate.sure and candidate.digit >= self.config.lattice.accepted,
        )

    def _normal(self, ready: Sequence[tuple[Plane, Box]]) -> list[Mark]:
        """Marks of frames that need no normalisation."""
        if not ready:
            return []
        given = self.classify_frames(np.stack([frame for frame, _ in ready]))
        return [
            Mark(frame, box, row, bool(is_digit), bool(accepted))
            for (frame, box), row, is_digit, accepted in zip(
                ready, given.probabilities, given.is_digit, given.accepted, strict=True
            )
        ]


def _without_specks(paths: list[list[Reading]], stray: float) -> list[list[Reading]]:
    """Leave out lines without a digit whose marks are all smaller than `stray` of a digit's height.

    Of a picture without a digit none is left out.
    """
    heights = [one.height for path in paths for one in path if one.is_digit]
    least = stray * float(np.median(heights)) if heights else 0.0
    return [path for path in paths if any(one.is_digit or one.height >= least for one in path)]


@dataclass(frozen=True)
class Only:
    """The one digit that a picture is asked for.

    Attributes
    ----------
    mark : Mark or None
        The largest digit; the largest mark where no digit is accepted; None of a blank.
    several : bool
        Whether there plainly are more.
    unread : bool
        Whether something half as tall stands beside it that was not read: it may be a part of that.
    """

    mark: Mark | None
    several: bool
    unread: bool


def only_digit(lines: Lines, picture: Picture) -> Only:
    """The one digit among the marks of a picture.

    What is cut by the border is a neighbour's, and is left aside if anything else is there.
    """
    marks = [mark for line in lines for mark in line]
    marks = [mark for mark in marks if mark.accepted or not _is_cut(mark, picture)] or marks
    if not marks:
        return Only(None, several=False, unread=False)
    some = [mark for mark in marks if mark.accepted] or marks
    largest = max(some, key=lambda mark: mark.box[2] * mark.box[3])
    beside = [mark for mark in marks if mark.box[3] > _BESIDE * largest.box[3]]
    accepted = [mark.accepted for mark in beside]
    return Only(largest, sum(accepted) > 1, unread=largest.accepted and not all(accepted))


def _is_cut(mark: Mark, picture: Picture) -> bool:
    """Whether a mark touches the picture's border."""
    x, y, width, height = mark.box
    margin = _BORDER * max(picture.width, picture.height)
    return (
        min(x, y) <= margin
        or x + width >= picture.width - margin
        or y + height >= picture.height - margin
    )


def evidence(*probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """What speaks for each of n glyphs being a digit, as log-odds, float64 (n, 3).

    Of the probabilities that it is a digit by the classifier and by the segmentation network, and
    that its pixels are handwriting at all, each float64 (n,).
    """
    return np.stack([_log_odds(one) for one in probabilities], axis=1)


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = probabilities.clip(_CERTAIN, 1 - _CERTAIN)
    return np.asarray(np.log(clipped / (1 - clipped)))
