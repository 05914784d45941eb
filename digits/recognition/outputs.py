"""The outputs of the segmentation network: constants that training and inference share.

Part of the page reader in development; not in service.
"""

# Kinds of a pixel, in the order of the output's channels. `MARK` is handwriting other than digits:
# signs, letters, drawings. `BACKGROUND` is what lies outside the sheet of paper.
PAPER, DIGIT, MARK, PRINT, BACKGROUND = range(5)
KINDS = 5

CELL = 4  # pixels, stride of the centre heat map
HALF = 2  # pixels, stride of the offset field and of the sizes
UNIT = 32.0  # pixels of an offset of 1; an output size of n octaves is UNIT * 2 ** n pixels
