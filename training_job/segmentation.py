"""The segmentation network of a bundle: its files, and its metrics on held-out rendered pages.

The pages are the same in each call, so that two networks can be compared. The metrics are computed
for the first result of `digits.finder.Segmenter.find`: a mask of the ink, and of each instance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits.finder import Segmenter
from digits.registry import bundle
from digits.registry.bundle import CONFIG, MANIFEST, SEGMENTER
from training_job import rendered_pages
from training_job.rendered_pages import RenderedPage

Mask = NDArray[np.bool_]

KERAS = "segmenter.keras"  # the trained network; bundles of version 0.1.0 do not have it
PAGES = 400  # rendered pages: a standard error of 0.01 of the recall, in 15 s of one core

_INK = (
    0.3  # of full ink, 0 to 1; from it on a rendered pixel is ink, as in `classifier.page_frames`
)
# Intersection over union above which an instance matches a glyph. Above 0.5 at most one instance
# can match a glyph (Kirillov et al., "Panoptic Segmentation", CVPR 2019).
_MATCH = 0.5


@dataclass(frozen=True)
class Counts:
    """The pixels and glyphs of one page, counted.

    Attributes
    ----------
    true_ink, found_ink, common_ink : int
        Pixels of ink on the page, in the network's mask, and in both.
    glyphs, found, matched : int
        Glyphs on the page, instances that the network found, and instances that match a glyph.
    sha256 : str
        Digest of the page and its truth.
    """

    true_ink: int
    found_ink: int
    common_ink: int
    glyphs: int
    found: int
    matched: int
    sha256: str


def files_in(folder: Path) -> dict[str, bytes]:
    """Read the files of the segmentation network in `folder`; return them by name.

    Parameters
    ----------
    folder
        A bundle, whose digests are checked, or the output of `training_job.segmenter`:
        `segmenter.tflite`, `config.json` and, optionally, `segmenter.keras`.

    Raises
    ------
    ModelUnavailable
        If a file is missing, differs from the bundle's manifest, or is not valid.
    """
    read_file = bundle.in_folder(folder)
    names = [SEGMENTER, CONFIG, *([KERAS] if (folder / KERAS).exists() else [])]
    if (folder / MANIFEST).exists():
        manifest = bundle.parse_manifest(read_file(MANIFEST))
        return {name: bundle.read_one(read_file, manifest, name) for name in names}
    return {name: read_file(name) for name in names}


def figures(segmenter: Segmenter, pages: int, workers: Executor) -> dict[str, Any]:
    """Compute all metrics of a segmentation network, as JSON; shares are in 0..1.

    Precision, recall and F1 of ink are means over the pages with ink in the truth or in the mask;
    those of instances are computed over all glyphs and instances of all pages.

    Parameters
    ----------
    segmenter
        The network and its thresholds.
    pages
        Number of pages to render.
    workers
        The processes that render and segment.
    """
    counted = list(workers.map(partial(_counts, segmenter), range(pages), chunksize=10))
    digest = hashlib.sha256("".join(one.sha256 for one in counted).encode())
    inked = [one for one in counted if one.true_ink or one.found_ink]
    precision, recall, f1 = np.array([
        _scores(one.common_ink, one.found_ink, one.true_ink) for one in inked
    ]).T  # fmt: skip
    glyphs, found, matched = (
        sum(getattr(one, name) for one in counted) for name in ("glyphs", "found", "matched")
    )
    of_instances = _scores(matched, found, glyphs)
    return {
        "pages": pages,
        "glyphs": glyphs,
        "sha256": digest.hexdigest(),
        "ink": {
            "precision": float(precision.mean()),
            "recall": float(recall.mean()),
            "f1": float(f1.mean()),
            "f1_standard_error": float(f1.std() / np.sqrt(len(f1))),
        },
        "instances": {
            "found": found,
            **dict(zip(("precision", "recall", "f1"), of_instances, strict=True)),
        },
    }


def _scores(common: int, found: int, true: int) -> tuple[float, float, float]:
    """Return precision, recall and F1; 0 for a division by zero."""
    return common / max(found, 1), common / max(true, 1), 2 * common / max(found + true, 1)


def _counts(segmenter: Segmenter, seed: int) -> Counts:
    page = rendered_pages.render(seed, held_out=True)
    ink, instances = _segmented(segmenter, page)
    return count(page, ink, instances)


def _segmented(segmenter: Segmenter, page: RenderedPage) -> tuple[Mask, Sequence[Mask]]:
    """Segment a page; return the mask of its ink and of each instance, in the page's size."""
    results = segmenter.find(page.grey)
    if not results:
        return np.zeros(page.grey.shape, np.bool_), []
    instances = []
    for piece in results[0].instances:
        mask = np.zeros(page.grey.shape, np.bool_)
        mask[piece.top : piece.bottom, piece.left : piece.right] = piece.mask
        instances.append(mask)
    return results[0].ink.mask, instances


def count(page: RenderedPage, ink: Mask, instances: Sequence[Mask]) -> Counts:
    """Compare the masks of a page's ink and of its instances, each (h, w), with the truth."""
    truth = page.ink > _INK
    glyphs = [
        glyph
        for number in range(1, len(page.glyphs) + 1)
        if (glyph := truth & (page.owner == number)).any()
    ]
    matched = sum(any(_overlap(one, glyph) > _MATCH for glyph in glyphs) for one in instances)
    digest = hashlib.sha256(page.grey.tobytes() + page.owner.tobytes() + truth.tobytes())
    return Counts(
        true_ink=int(truth.sum()),
        found_ink=int(ink.sum()),
        common_ink=int((truth & ink).sum()),
        glyphs=len(glyphs),
        found=len(instances),
        matched=matched,
        sha256=digest.hexdigest(),
    )


def _overlap(one: Mask, other: Mask) -> float:
    """Return the intersection over union of two masks that are not both empty."""
    return float((one & other).sum() / (one | other).sum())
