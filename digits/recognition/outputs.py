"""What the segmentation network gives: what training and `segmentation` agree on.

Part of the page reader in development; not in service.
"""

# Kinds of a pixel, in the order of the network's output. `MARK` is handwriting that is no digit: a
# sign, a letter, a drawing.
PAPER, DIGIT, MARK, PRINT, BACKGROUND = range(5)
KINDS = 5

CELL = 4  # pixels, the stride of the centre heat map
HALF = 2  # pixels, the stride of the offset field and of the sizes
UNIT = 32.0  # pixels that an offset of 1 stands for; sizes are octaves above or below it
