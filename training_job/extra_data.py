"""Load extra training data: labelled images in a folder or an S3 prefix with a `labels.csv`.

`labels.csv` has a header with the columns `file` and `truth`, in upper or lower case, as
spreadsheets save it: with commas, semicolons or tabs, in UTF-8, UTF-16 or Windows' cp1252. Paths
are relative to it, with slashes or backslashes; accented letters may be composed or decomposed.
Each `truth` is a correction (see `digits.labels.corrections`): rows of one digit are trained on,
other rows are left out and counted. Images are normalised to frames as in recognition.
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
class ExtraData:
    """Frames of the extra training data.

    Attributes
    ----------
    split
        The frames and their digits.
    sha256
        Digest of the table and of the images of the frames.
    left_out
        Number of rows that were left out, because their truth is not one digit.
    """

    split: Split
    sha256: str
    left_out: int


def load(address: str) -> ExtraData:
    """Read the images whose truth is one digit, and normalise them to frames.

    Parameters
    ----------
    address
        A folder or ``s3://bucket/prefix``.

    Raises
    ------
    TrainingError
        If an image cannot be read or a truth is not a valid correction, with the line of
        ``labels.csv``; or if no row has a truth of one digit.
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
        raise TrainingError(f"No row of {LABELS} has a truth of one digit; add some that have.")
    x = np.stack(frames)[..., np.newaxis]
    split = Split(x, np.array(truths, np.uint8))
    return ExtraData(split, digest.hexdigest(), left_out=len(rows) - len(frames))


def _rows(table: bytes) -> list[tuple[int, str, str]]:
    """Return the number of its last line in the file, the path and the truth of each row."""
    try:
        reader = _reader(_text(table))
        names = [(name or "").strip().lower() for name in next(reader, [])]
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(
            f"{LABELS} is not a CSV file in UTF-8, UTF-16 or cp1252; save it again."
        ) from error
    if not rows or not {"file", "truth"} <= set(names):
        raise TrainingError(f"{LABELS} needs the columns file and truth, and a row per image.")
    checked = []
    for line, cells in rows:
        row = dict(zip(names, map(tabular.restored, cells), strict=False))
        name = row.get("file", "").strip().replace("\\", "/")
        if "truth" not in row:
            raise TrainingError(f"{LABELS}, line {line}: the truth is missing; add it.")
        try:
            # Spreadsheets add spaces and tabs around it; line and page breaks are part of a truth.
            truth = corrections.valid(row["truth"].strip(" \t").replace("\r\n", "\n"))
        except ValueError as error:
            raise TrainingError(f"{LABELS}, line {line}: {error}") from error
        if not name or not _is_below(name):
            raise TrainingError(f"{LABELS}, line {line}: name a file in the folder or below it.")
        checked.append((line, name, truth))
    return checked


def _is_below(name: str) -> bool:
    """Whether a path with slashes stays below its folder, on POSIX systems and on Windows."""
    windows = PureWindowsPath(name)
    return not (windows.drive or windows.root or ".." in windows.parts)


def _text(table: bytes) -> str:
    """Decode by the byte-order mark; without one as UTF-8, or else cp1252, as Excel saves CSV."""
    if table.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return table.decode("utf-16")
    try:
        return table.decode("utf-8-sig")
    except UnicodeDecodeError:
        return table.decode("cp1252")


def _reader(text: str) -> Any:
    """Return a `csv.reader` for the header's delimiter, or that of Excel's line `sep=…`."""
    head, _, rest = text.partition("\n")
    if announced := re.fullmatch(r'"?sep=(.)"?\r?', head, re.IGNORECASE):
        return csv.reader(io.StringIO(rest, newline=""), delimiter=announced[1])
    delimiter = max(",;\t", key=head.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _picture(root: str, name: str) -> bytes:
    """Read an image whose name may have another Unicode normalisation or case than in the table.

    macOS stores names decomposed (NFD), and file systems of Windows and macOS ignore case.
    """
    if "://" in root:
        return _read_first(root, dict.fromkeys(_spellings(name)))
    folder = Path(root)
    for part in PurePosixPath(name).parts:
        folder = _find_entry(folder, part)
    return read_bytes(str(folder), "--extra-data")


def _spellings(name: str) -> list[str]:
    return [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]


def _read_first(root: str, names: Iterable[str]) -> bytes:
    """Read the first existing object of several names; in S3 each normalisation is another key."""
    failure = None
    for name in names:
        try:
            return read_bytes(f"{root}/{name}", "--extra-data")
        except TrainingError as error:
            failure = failure or error
    assert failure is not None  # noqa: S101 - there is at least one name
    raise failure


def _find_entry(folder: Path, name: str) -> Path:
    """Find a name in a folder, or else the only name that equals it apart from case and NFD."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    alike = [entry for entry in folder.iterdir() if _comparable(entry.name) == _comparable(name)]
    return alike[0] if len(alike) == 1 else exact


def _comparable(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _frame(data: bytes, where: str) -> Plane:
    try:
        mark = preprocess.largest(image.decode(data))
    except DigitsError as error:
        raise TrainingError(f"{where}: {error}") from error
    if mark is None:
        raise TrainingError(f"{where}: no digit was found in the image; remove the row.")
    return mark.frame
