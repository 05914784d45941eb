"""The minimal Python function on LiteRT: no checks, no error handling, no preprocessing."""

import base64
import io
import json
import os
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

interpreter = Interpreter(model_path=os.environ["MODEL"], num_threads=1)
interpreter.allocate_tensors()


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Answer a request with the digit in its image."""
    image = Image.open(io.BytesIO(base64.b64decode(event["body"]))).convert("L").resize((28, 28))
    frame = np.asarray(image, np.float32).reshape(1, 28, 28, 1) / 255
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], frame)
    interpreter.invoke()
    scores = next(
        interpreter.get_tensor(end["index"])
        for end in interpreter.get_output_details()
        if end["shape"][-1] == 10
    )
    return {"statusCode": 200, "body": json.dumps({"predicted_label": str(scores.argmax())})}
