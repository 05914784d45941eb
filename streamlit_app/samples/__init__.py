"""Pictures to try with one click; `python -m streamlit_app.samples.paint` made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from digits.results import Mode

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """One picture, whose `file` stands in this folder, and how it wants to be read."""

    file: str
    label: str
    mode: Mode = "single"

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return (_FOLDER / self.file).read_bytes()


SAMPLES = (
    Sample("fountain_pen.jpg", "Pen"),
    Sample("chalk.jpg", "Chalk"),
    Sample("pencil.jpg", "Pencil"),
    Sample("year.jpg", "Number", "multiple"),
    Sample("scrawl.jpg", "Hard one"),
)
