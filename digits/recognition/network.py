"""Run the segmentation network in LiteRT.

Part of the page reader in development; not in service.
"""

from __future__ import annotations

import threading

import numpy as np

from digits.errors import ModelUnavailable
from digits.recognition.config import SegmentationConfig
from digits.recognition.glyphs import Grey, Plane
from digits.recognition.outputs import KINDS, UNIT

_OCTAVES = 4  # octaves to which a size is clipped, above and below `UNIT`; keeps it finite


class Segmenter:
    """The segmentation network with its thresholds. Thread-safe.

    A pickled segmenter contains the network's bytes; unpickling loads them into LiteRT again.

    Parameters
    ----------
    tflite
        The bytes of the network's LiteRT file.
    config
        Thresholds on its outputs.

    Raises
    ------
    ModelUnavailable
        If the bytes are not a LiteRT model from (n, h, w, 1) to the three outputs.
    """

    def __init__(self, tflite: bytes, config: SegmentationConfig) -> None:
        # Imported here, so that modules that need only this class's type do not load LiteRT.
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

        self._tflite, self.config = tflite, config
        self._lock = threading.Lock()
        try:
            self._interpreter = Interpreter(model_content=tflite, num_threads=1)
            (takes,) = self._interpreter.get_input_details()
            gives = {
                int(output["shape_signature"][-1]): output["index"]
                for output in self._interpreter.get_output_details()
            }
        except (ValueError, RuntimeError, IndexError) as error:
            raise ModelUnavailable(
                "LiteRT cannot load the segmentation network; publish the bundle again."
            ) from error
        if len(takes["shape_signature"]) != 4 or sorted(gives) != [1, 3, KINDS]:
            raise ModelUnavailable(
                f"The segmentation network has outputs of {sorted(gives)} channels, not of 1, 3"
                f" and {KINDS}; this software cannot run it. Train it again with"
                " `python -m training_job.tile_segmenter`."
            )
        self._input = takes["index"]
        self._outputs = gives[KINDS], gives[1], gives[3]
        self._shape: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[type[Segmenter], tuple[bytes, SegmentationConfig]]:
        return Segmenter, (self._tflite, self.config)

    def __call__(self, grey: Grey) -> tuple[Plane, Plane, Plane, Plane]:
        """Run the network on a picture.

        Parameters
        ----------
        grey : uint8 (h, w)
            The picture; h and w are multiples of 16.

        Returns
        -------
        float32 (h, w, 5)
            Probability of each kind, in the order of `outputs`.
        float32 (h/4, w/4)
            Centre heat map, 0 to 1.
        float32 (h/2, w/2, 2)
            Offset field: x and y from each pixel to its glyph's centre, pixels.
        float32 (h/2, w/2)
            Longer side of each pixel's glyph, pixels.
        """
        batch = grey.astype(np.float32)[None, ..., None] / 255
        with self._lock:
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            kind, centre, glyph = (
                self._interpreter.get_tensor(index)[0] for index in self._outputs
            )
        kind = np.exp(kind - kind.max(-1, keepdims=True))
        kind /= kind.sum(-1, keepdims=True)
        heat = 1 / (1 + np.exp(-centre[..., 0].clip(-30, 30)))
        sizes = UNIT * 2 ** glyph[..., 2].clip(-_OCTAVES, _OCTAVES)
        return kind, heat, glyph[..., :2] * UNIT, sizes
