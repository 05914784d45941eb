"""Image bytes to digits: see `digits.recognition.pipeline`."""
