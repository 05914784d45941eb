"""What can be wrong with a training run, in words for the person who started it."""

from __future__ import annotations


class TrainingError(Exception):
    """A run that cannot be done as asked; the message is one line that says what to do."""


class NotPromoted(TrainingError):
    """The model was made and published, but the gate refused to put it in service."""
