"""Feature maps: the activations of the classifier's first convolutions for one frame."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

Maps = NDArray[np.float32]

_LAYERS = 2  # convolutions whose feature maps explanations show
_POOLING = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D"})
# Operations between a convolution and its ReLU: a batch normalisation that was not folded.
_ELEMENTWISE = frozenset({"MUL", "ADD", "SUB", "RELU", "RELU6"})


class Activations:
    """Computes the feature maps of a network's first two convolutions. Thread-safe.

    It uses its own interpreter, which preserves all tensors and runs without the delegate that
    fuses layers. That interpreter takes memory, so it is created on the first call.

    Parameters
    ----------
    tflite
        The bytes of a model file that LiteRT can load.
    """

    def __init__(self, tflite: bytes) -> None:
        self._tflite = tflite
        self._lock = threading.Lock()
        self._interpreter: Any = None

    def __call__(self, frame: NDArray[np.float32]) -> list[tuple[str, Maps]]:
        """Run the network on one frame.

        Parameters
        ----------
        frame : float32 (28, 28)
            White ink on black in 0..1.

        Returns
        -------
        list of (str, float32 (height, width, channels))
            The name of each convolution, ``conv1`` and ``conv2``, and its output after batch
            normalisation and ReLU. Fewer if the network has fewer convolutions.
        """
        with self._lock:
            if self._interpreter is None:
                self._interpreter = Interpreter(
                    model_content=self._tflite,
                    num_threads=1,
                    experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                    experimental_preserve_all_tensors=True,
                )
                self._interpreter.allocate_tensors()
            (takes,) = self._interpreter.get_input_details()
            batch = frame[np.newaxis, ..., np.newaxis].astype(np.float32)
            self._interpreter.set_tensor(takes["index"], batch)
            self._interpreter.invoke()
            tensors = _activations(self._interpreter._get_ops_details())
            return [
                (f"conv{number}", self._interpreter.get_tensor(tensor)[0])
                for number, tensor in enumerate(tensors[:_LAYERS], start=1)
            ]


def _activations(operations: list[dict[str, Any]]) -> list[int]:
    """Return the index of the tensor with each convolution's activation, in the layers' order.

    It is the output of the layer's last operation that is not a pooling. LiteRT fuses a ReLU with
    the operation before it (the convolution, or a normalisation after a pooling) and does not
    report that to Python; but in a network whose layers end in ReLU only pooling comes after it.
    """
    found = []
    for convolution in operations:
        if convolution["op_name"] != "CONV_2D":
            continue
        current = activation = int(convolution["outputs"][0])
        while following := _next(operations, current):
            current = int(following["outputs"][0])
            if following["op_name"] in _ELEMENTWISE:
                activation = current
        found.append(activation)
    return found


def _next(operations: list[dict[str, Any]], tensor: int) -> dict[str, Any] | None:
    """Return the operation on `tensor` that belongs to the same layer; None if there is none."""
    for operation in operations:
        if operation["op_name"] in _ELEMENTWISE | _POOLING and tensor in operation["inputs"]:
            return operation
    return None
