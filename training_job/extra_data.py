"""Pictures of one's own that train beside MNIST: a folder or an S3 prefix with a `labels.csv`.

`labels.csv` has a header and the columns `file` and `truth`, in any case, as a spreadsheet saves
it: with commas, semicolons or tabs, in UTF-8, UTF-16 or Windows' cp1252. Files are named relative
to it, with slashes or backslashes; a letter with an accent may be one character or two. Each
`truth` is a correction (see `digits.labels.corrections`): lines of one digit are trained on, others
are left out and counted. The pictures go through the recogniser's own preprocessing, so what is
trained on is what is served.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from digits import image, preprocess, tabular
from digits.errors import DigitsError
from digits.ink import Plane
from digits.labels import corrections
from training_job.data import Split, read_bytes
from training_job.errors import TrainingError

LABELS = "labels.csv"


@dataclass(frozen=True)
class Extra:
    """The frames of own pictures.

    Attributes
    ----------
    split
        The frames and their digits.
    sha256
        Over the table and the pictures that the frames were made from.
    left_out
        How many lines were left out: their correction is valid, but not one digit.
    """

    split: Split
    sha256: str
    left_out: int


def load(address: str) -> Extra:
    """Read, check and normalise each picture that ``labels.csv`` says is of one digit.

    Parameters
    ----------
    address
        A folder or ``s3://bucket/prefix``.

    Raises
    ------
    TrainingError
        Naming the line of ``labels.csv`` whose picture cannot be read or whose truth is not a valid
        correction, or if no line is of one digit.
    """
    root = address.rstrip("/")
    table = read_bytes(f"{root}/{LABELS}", "--extra-data")
    digest = hashlib.sha256(table)
    frames, truths = [], []
    rows = _rows(table)
    for line, name, truth in rows:
        if not corrections.is_digit(truth):
            continue
        data = _picture(root, name)
        digest.update(data)
        frames.append(_frame(data, f"{LABELS}, line {line}, {name}"))
        truths.append(int(truth))
    if not frames:
        raise TrainingError(f"No line of {LABELS} has a truth of one digit; give some that do.")
    x = np.stack(frames)[..., np.newaxis]
    split = Split(x, np.array(truths, np.uint8))
    return Extra(split, digest.hexdigest(), left_out=len(rows) - len(frames))


def _rows(table: bytes) -> list[tuple[int, str, str]]:
    """Number of its last line in the file, picture and truth of each row."""
    try:
        reader = _reader(_text(table))
        names = [(name or "").strip().lower() for name in next(reader, [])]
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(
            f"{LABELS} is not a CSV file in UTF-8, UTF-16 or cp1252; save it again."
        ) from error
    if not rows or not {"file", "truth"} <= set(names):
        raise TrainingError(f"{LABELS} needs the columns file and truth, and a line a picture.")
    checked = []
    for line, cells in rows:
        row = dict(zip(names, map(tabular.restored, cells), strict=False))
        name = row.get("file", "").strip().replace("\\", "/")
        if "truth" not in row:
            raise TrainingError(f"{LABELS}, line {line}: the truth is missing; add it.")
        try:
            # Spaces around it come from spreadsheets; line and page ends are part of it.
            truth = corrections.valid(row["truth"].strip(" \t").replace("\r\n", "\n"))
        except ValueError as error:
            raise TrainingError(f"{LABELS}, line {line}: {error}") from error
        if not name or not _is_below(name):
            raise TrainingError(f"{LABELS}, line {line}: name a file in the folder or below it.")
        checked.append((line, name, truth))
    return checked


def _is_below(name: str) -> bool:
    """Whether a name with slashes stays in its folder, here and on Windows."""
    windows = PureWindowsPath(name)
    return not (windows.drive or windows.root or ".." in windows.parts)


def _text(table: bytes) -> str:
    """Decode by the byte-order mark; without one, UTF-8 or what Excel for Windows saves as CSV."""
    if table.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return table.decode("utf-16")
    try:
        return table.decode("utf-8-sig")
    except UnicodeDecodeError:
        return table.decode("cp1252")


def _reader(text: str) -> Any:
    """A `csv.reader` for the delimiter of the header, which Excel may announce on a line before."""
    head, _, rest = text.partition("\n")
    if announced := re.fullmatch(r'"?sep=(.)"?\r?', head, re.IGNORECASE):
        return csv.reader(io.StringIO(rest, newline=""), delimiter=announced[1])
    delimiter = max(",;\t", key=head.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _picture(root: str, name: str) -> bytes:
    """The bytes of a picture, whose file system may spell accents and case in another way.

    macOS composes accents in its own way (NFD), and on Windows and macOS case does not matter.
    """
    if "://" in root:
        return _read_first(root, dict.fromkeys(_spellings(name)))
    folder = Path(root)
    for part in PurePosixPath(name).parts:
        folder = _entry(folder, part)
    return read_bytes(str(folder), "--extra-data")


def _spellings(name: str) -> list[str]:
    return [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]


def _read_first(root: str, names: Iterable[str]) -> bytes:
    """The first that can be read of several names in S3, where every spelling is another key."""
    failure = None
    for name in names:
        try:
            return read_bytes(f"{root}/{name}", "--extra-data")
        except TrainingError as error:
            failure = failure or error
    assert failure is not None  # noqa: S101 - there is at least one name
    raise failure


def _entry(folder: Path, name: str) -> Path:
    """What a folder holds under a name, if need be the only thing that differs in its spelling."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    alike = [entry for entry in folder.iterdir() if _folded(entry.name) == _folded(name)]
    return alike[0] if len(alike) == 1 else exact


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _frame(data: bytes, where: str) -> Plane:
    try:
        mark = preprocess.largest(image.decode(data))
    except DigitsError as error:
        raise TrainingError(f"{where}: {error}") from error
    if mark is None:
        raise TrainingError(f"{where}: no digit is found in it; take the line out.")
    return mark.frame
