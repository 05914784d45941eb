"""Synthetic pages with the truth of every pixel, for training the segmentation network."""
