"""Synthetic scenes, pictures of pages with the truth of every pixel, to train the segmenter.

`marks` draws single marks, `printed` draws ruling lines and printed text, `pages` lays both out on
a sheet, and `photographs` renders the sheet as a photo, scan or screenshot.
`python -m training_job.synthesis` writes a contact sheet.

Probabilities and ranges in these modules were chosen by eye, so that the scenes look like the open
development pictures. Lengths are in heights of a digit unless another unit is given. Scenes for
evaluation (`held_out`) use other digits of MNIST, typefaces and strokes than scenes for training.

Part of the page reader in development; not in service.
"""
