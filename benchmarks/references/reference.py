"""A function on TensorFlow like AWS's template apigw-tensorflow for Python.

https://github.com/aws/aws-sam-cli-app-templates, python3.12/apigw-tensorflow: the module loads the
Keras model when it is imported, and resizes each picture to 28x28 pixels.
"""

import base64
import io
import json
import os
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

model = tf.keras.models.load_model(os.environ["MODEL"])


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Answer a request with the digit in its image."""
    image = Image.open(io.BytesIO(base64.b64decode(event["body"]))).convert(mode="L")
    image = image.resize((28, 28))
    probabilities = model(np.array(image).reshape(-1, 28, 28, 1))
    label = np.argmax(probabilities)
    return {"statusCode": 200, "body": json.dumps({"predicted_label": str(label)})}
