"""Trains the segmentation network: see `digits.recognition.segmentation`."""
