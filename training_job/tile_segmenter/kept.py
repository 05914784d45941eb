"""The page reader in development: its network as it was last trained, and its thresholds.

The network was trained by `python -m training_job.tile_segmenter --count 16000 --steps 6000`, whose
scenes were rendered anew after the first half, and then, on what `training_job.synthesis` renders
then, by `--count 20000 --steps 11000 --seed 3 --start-from segmenter.keras`: 75 minutes more.
It was not shown `training_job.synthesis.snapshots`, which are newer.
"""

from __future__ import annotations

from pathlib import Path

from digits.reading import ClassifyFrames
from digits.recognition.config import PageConfig
from digits.recognition.network import Segmenter
from digits.recognition.pipeline import Recogniser

_DATA = Path(__file__).parents[1] / "data"
NETWORK, CONFIG = _DATA / "tile_segmenter.tflite", _DATA / "tile_segmenter.json"


def config() -> PageConfig:
    """The thresholds, chosen by eye from the open development pictures."""
    return PageConfig.model_validate_json(CONFIG.read_bytes())


def recogniser(judge: ClassifyFrames) -> Recogniser:
    """A reader with this network and a classifier."""
    thresholds = config()
    return Recogniser(judge, Segmenter(NETWORK.read_bytes(), thresholds.segmentation), thresholds)
