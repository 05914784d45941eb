"""The segmentation network of a bundle: its files, and its figures on held-out rendered pages.

The pages are the same each time, so that two networks are compared on the same ones. What is scored
is what `digits.finder.Segmenter.find` returns first: a mask of ink, and a mask for each glyph.
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
from training_job import scenes
from training_job.scenes import Scene

Mask = NDArray[np.bool_]

KERAS = "segmenter.keras"  # what was trained; the network of version 0.1.0 was not kept in it
PAGES = 400  # that the figures are measured on: a standard error of 0.01 for recall, 15 s of a core

_INK = 0.3  # of full ink, 0 to 1: from which a rendered pixel counts as ink, as in `found`
# Intersection over union from which an instance is the glyph. Above 0.5 at most one instance can
# match a glyph (Kirillov et al., "Panoptic Segmentation", CVPR 2019).
_MATCH = 0.5


@dataclass(frozen=True)
class Counts:
    """What was counted on one page.

    Attributes
    ----------
    true_ink, found_ink, common_ink : int
        Pixels of ink on the page, in the mask, and in both.
    glyphs, found, matched : int
        Glyphs on the page, instances found, and instances that are a glyph.
    sha256 : str
        Of the page and its truth.
    """

    true_ink: int
    found_ink: int
    common_ink: int
    glyphs: int
    found: int
    matched: int
    sha256: str


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of the segmentation network in `folder`, by their names in a bundle.

    Parameters
    ----------
    folder
        A bundle, whose digests are checked, or what `training_job.segmenter` wrote:
        `segmenter.tflite`, `config.json` and, if it is there, `segmenter.keras`.

    Raises
    ------
    ModelUnavailable
        If one is missing, differs from the bundle's manifest, or is not valid.
    """
    read_file = bundle.in_folder(folder)
    names = [SEGMENTER, CONFIG, *([KERAS] if (folder / KERAS).exists() else [])]
    if (folder / MANIFEST).exists():
        manifest = bundle.parse_manifest(read_file(MANIFEST))
        return {name: bundle.read_one(read_file, manifest, name) for name in names}
    return {name: read_file(name) for name in names}


def figures(segmenter: Segmenter, pages: int, workers: Executor) -> dict[str, Any]:
    """Every figure of a segmentation network, ready for JSON; shares are of 1.

    Precision, recall and F1 of ink are means over the pages that have ink or on which some is
    found; those of instances are over all glyphs and all instances together.

    Parameters
    ----------
    segmenter
        The network and its thresholds.
    pages
        How many to render.
    workers
        The processes that do it.
    """
    counted = list(workers.map(partial(_page, segmenter), range(pages), chunksize=10))
    digest = hashlib.sha256("".join(page.sha256 for page in counted).encode())
    inked = [page for page in counted if page.true_ink or page.found_ink]
    precision, recall, f1 = np.array([
        _scores(page.common_ink, page.found_ink, page.true_ink) for page in inked
    ]).T  # fmt: skip
    glyphs, found, matched = (
        sum(getattr(page, name) for page in counted) for name in ("glyphs", "found", "matched")
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
    """Precision, recall and F1; 0 where there is nothing to divide by."""
    return common / max(found, 1), common / max(true, 1), 2 * common / max(found + true, 1)


def _page(segmenter: Segmenter, seed: int) -> Counts:
    scene = scenes.scene(seed, held_out=True)
    ink, instances = _segmented(segmenter, scene)
    return count(scene, ink, instances)


def _segmented(segmenter: Segmenter, scene: Scene) -> tuple[Mask, Sequence[Mask]]:
    """The mask of the ink of a page, and one for each instance, all of the page's size."""
    ways = segmenter.find(scene.grey)
    if not ways:
        return np.zeros(scene.grey.shape, np.bool_), []
    instances = []
    for piece in ways[0].instances:
        mask = np.zeros(scene.grey.shape, np.bool_)
        mask[piece.top : piece.bottom, piece.left : piece.right] = piece.mask
        instances.append(mask)
    return ways[0].ink.mask, instances


def count(scene: Scene, ink: Mask, instances: Sequence[Mask]) -> Counts:
    """Compare masks of a page's ink and of its instances, each (h, w), with the truth."""
    truth = scene.ink > _INK
    glyphs = [
        glyph
        for number in range(1, len(scene.things) + 1)
        if (glyph := truth & (scene.owner == number)).any()
    ]
    matched = sum(any(_overlap(one, glyph) > _MATCH for glyph in glyphs) for one in instances)
    digest = hashlib.sha256(scene.grey.tobytes() + scene.owner.tobytes() + truth.tobytes())
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
    """Intersection over union of two masks that are not empty."""
    return float((one & other).sum() / (one | other).sum())
