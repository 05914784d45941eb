"""Convert the Keras network of a bundle to ONNX, for the comparison with ONNX Runtime.

The graph is built node by node, because converters do not support this version of Keras 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def write(keras_file: Path, onnx_file: Path) -> None:
    """Convert a Keras file; the ONNX network maps images (n, 28, 28, 1) to logits (n, 10).

    Raises
    ------
    NotImplementedError
        If the network has a layer of a type that is not supported.
    """
    graph = _Graph()
    for layer in keras.models.load_model(keras_file, compile=False).layers:
        graph.add(layer)
    whole = helper.make_graph(
        graph.nodes,
        "mnist_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 28, 28, 1])],
        [helper.make_tensor_value_info(graph.last, TensorProto.FLOAT, ["n", 10])],
        graph.weights,
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(whole, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, onnx_file)


class _Graph:
    """Builds ONNX nodes in the order of the layers. ONNX has channels first, Keras last."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = "image"
        self._node("Transpose", perm=[0, 3, 1, 2])

    def add(self, layer: layers.Layer) -> None:
        """Append a layer, in inference mode."""
        name, arrays = layer.name, layer.get_weights()
        if isinstance(layer, layers.Conv2D):
            kernel, *bias = arrays
            padding = layer.padding.upper() + ("_UPPER" if layer.padding == "same" else "")
            self._node("Conv", name, kernel.transpose(3, 2, 0, 1), *bias, auto_pad=padding)
            self._activation(layer)
        elif isinstance(layer, layers.MaxPooling2D):
            self._node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        elif isinstance(layer, layers.BatchNormalization):
            self._node("BatchNormalization", name, *arrays, epsilon=layer.epsilon)
        elif isinstance(layer, layers.ReLU):
            self._node("Relu")
        elif isinstance(layer, layers.Flatten):
            self._node("Transpose", perm=[0, 2, 3, 1])
            self._node("Flatten")
        elif isinstance(layer, layers.Dense):
            self._node("Gemm", name, *arrays)
            self._activation(layer)
        elif not isinstance(layer, (layers.Dropout, layers.Softmax)):
            raise NotImplementedError(f"{type(layer).__name__} is not supported; add it here.")

    def _activation(self, layer: layers.Layer) -> None:
        if layer.activation is keras.activations.relu:
            self._node("Relu")

    def _node(self, kind: str, name: str = "", *arrays: np.ndarray, **attributes: Any) -> None:
        named = [f"{name}/{number}" for number in range(len(arrays))]
        self.weights += [
            numpy_helper.from_array(np.ascontiguousarray(array), each)
            for array, each in zip(arrays, named, strict=True)
        ]
        output = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *named], [output], **attributes))
        self.last = output
