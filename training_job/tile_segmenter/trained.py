"""The trained network and the thresholds of the page reader in development.

The network was trained by `python -m training_job.tile_segmenter --count 16000 --steps 6000`, with
newly rendered scenes for the second half of the steps, then for 75 minutes by
`--count 20000 --steps 11000 --seed 3 --start-from segmenter.keras`, both without the scenes of
`training_job.synthesis.snapshots`; and then with them for about an hour on two cores by
`--count 9000 --steps 4500 --seed 5 --start-from segmenter.keras`, of which 1,500 steps were done,
and `--count 9000 --steps 1600 --seed 7`, which started from their averaged weights.
"""

from __future__ import annotations

from pathlib import Path

from digits.recognition.classification import ClassifyFrames
from digits.recognition.config import PageConfig
from digits.recognition.network import Segmenter
from digits.recognition.pipeline import Recogniser

_DATA = Path(__file__).parents[1] / "data"
NETWORK, CONFIG = _DATA / "tile_segmenter.tflite", _DATA / "tile_segmenter.json"


def config() -> PageConfig:
    """Return the thresholds, which were chosen by eye from the open development pictures."""
    return PageConfig.model_validate_json(CONFIG.read_bytes())


def recogniser(classify_frames: ClassifyFrames) -> Recogniser:
    """Return a page reader with this network and a classifier."""
    thresholds = config()
    return Recogniser(
        classify_frames, Segmenter(NETWORK.read_bytes(), thresholds.segmentation), thresholds
    )
