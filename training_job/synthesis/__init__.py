"""Synthetic pages with the truth of every pixel, for training the segmentation network.

`marks` draws single marks, `printed` what a press prints, `pages` lays both out on a sheet, and
`photographs` makes a picture of it. `python -m training_job.synthesis` writes a contact sheet.

Chances and ranges in these modules were chosen by eye, so that the scenes look like the open
development pictures; none is fitted yet. Lengths are in heights of a digit unless they say
otherwise. Scenes for measuring (`held_out`) draw on other digits of MNIST, typefaces and strokes
than scenes to train with.

Part of the page reader in development; not in service.
"""
