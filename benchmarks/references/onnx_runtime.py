"""The minimal Python function on ONNX Runtime, with the same network; as `floor` on LiteRT."""

import base64
import io
import json
import os
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options)


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Answer a request with the digit in its image."""
    image = Image.open(io.BytesIO(base64.b64decode(event["body"]))).convert("L").resize((28, 28))
    frame = np.asarray(image, np.float32).reshape(1, 28, 28, 1) / 255
    scores = session.run(None, {"image": frame})[0]
    return {"statusCode": 200, "body": json.dumps({"predicted_label": str(scores.argmax())})}
