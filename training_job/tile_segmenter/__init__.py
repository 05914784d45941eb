"""Train the segmentation network that `digits.recognition.segmentation` runs in tiles.

Part of the page reader in development; not in service.
"""
