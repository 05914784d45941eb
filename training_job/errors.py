"""Errors of training runs, with messages for the person who started the run."""

from __future__ import annotations


class TrainingError(Exception):
    """The run is not possible with these settings; the message is one line and says what to do."""


class NotPromoted(TrainingError):
    """The bundle was published, but the promotion gate refused to promote it."""
