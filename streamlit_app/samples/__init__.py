"""Sample pictures, which `python -m streamlit_app.samples.paint` renders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """One picture: its `file` in this folder, and the label of its button."""

    file: str
    label: str

    @property
    def data(self) -> bytes:
        """Return the file's bytes."""
        return (_FOLDER / self.file).read_bytes()


SAMPLES = (
    Sample("fountain_pen.jpg", "Pen"),
    Sample("chalk.jpg", "Chalk"),
    Sample("pencil.jpg", "Pencil"),
    Sample("year.jpg", "Number"),
    Sample("scrawl.jpg", "Hard one"),
)
