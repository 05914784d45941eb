"""Collect labels into a table of one row an image, and compare two such tables.

Both use constant memory for any number of labels: S3 lists labels and corrections in the same
order, and the tables keep it.
"""

from __future__ import annotations

import contextlib
import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from digits import tabular
from digits.cli import files
from digits.cli.stack import answering, client, place
from digits.errors import BadRequest
from digits.labels.label import (
    CORRECTIONS,
    PREFIX,
    Source,
    Written,
    correction_key,
    label_key,
)
from digits.labels.store import LabelStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READERS = 32  # labels read at once; a read mostly waits for S3
_AT_ONCE = 1_000  # labels in memory


class Row(NamedTuple):
    """One image: the answer in its label, and a person's correction.

    `truth` is empty unless a person corrected the label. `confidence` is that of the least certain
    digit; None without a digit.
    """

    image: str
    text: str
    truth: str
    needs_review: bool
    reason: str
    error: str
    confidence: float | None
    model: str
    labelled_at: str

    @classmethod
    def of_line(cls, line: dict[str, str]) -> Row:
        """Read a line of CSV by its columns' names; columns that a later version adds are ignored.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is not a line that `collect` wrote.
        """
        if None in (cells := [line[name] for name in cls._fields]):
            raise ValueError("cut off")
        row = cls(*map(tabular.restored, cells))  # type: ignore[arg-type]
        sure = float(line["confidence"]) if line["confidence"] != "" else None
        return row._replace(needs_review=line["needs_review"] == "yes", confidence=sure)


_KINDS = {
    "text": tabular.Column("text", "reading"),
    "truth": tabular.Column("truth", "reading"),
    "needs_review": tabular.Column("needs_review", "flag", flags=("no", "yes")),
    "confidence": tabular.Column("confidence", "number"),
}
_TABLE = tuple(_KINDS.get(name, tabular.Column(name)) for name in Row._fields)


def collect(address: str, out: Path | None, *, bom: bool = False) -> Iterator[int]:
    """Write a row for each label of ``s3://<labels bucket>/labels/prefix``; yield how many.

    Tombstones are left out. The file's extension selects the format; see `tabular.ENDINGS`.

    Raises
    ------
    BadRequest
        If the address holds no labels, or the file cannot be written or has another extension.
    StorageUnavailable
        If S3 does not answer, or refuses.
    """
    labels = rows_of(address)
    with _writer(out, bom=bom) as write:
        for rows in labels:
            write(rows)
            yield len(rows)


def rows_of(address: str) -> Iterator[list[Row]]:
    """Yield batches of the rows that `collect` writes for ``s3://<labels bucket>/labels/prefix``.

    Raises
    ------
    BadRequest
        At once, if the address holds no labels.
    StorageUnavailable
        Later, if S3 does not answer, or refuses.
    """
    bucket, prefix = place(address)
    prefix = prefix or PREFIX
    if not prefix.startswith(PREFIX):
        raise BadRequest(
            f"Labels are below s3://{bucket}/{PREFIX}: give an address that starts with it."
        )
    return _rows_below(bucket, prefix)


def _rows_below(bucket: str, prefix: str) -> Iterator[list[Row]]:
    s3 = client("s3", max_pool_connections=_READERS)
    with answering(), ThreadPoolExecutor(_READERS) as readers:
        keys = _keys(s3, bucket, prefix)
        store = LabelStore(s3, bucket)
        corrected = _keys(s3, bucket, CORRECTIONS + prefix.removeprefix(PREFIX))
        truths = _Truths(store, corrected)
        while some := list(islice(keys, _AT_ONCE)):
            labels = readers.map(store.label_at, some)
            yield [
                _row(label, label.source, truths.of(key, label.source))
                for key, label in zip(some, labels, strict=True)
                if label is not None and label.source is not None and not label.deleted
            ]


def _keys(s3: S3Client, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            yield item["Key"]


class _Truths:
    """The corrections of a prefix, asked for in the order of their labels' keys."""

    def __init__(self, store: LabelStore, keys: Iterator[str]) -> None:
        self._store, self._keys = store, keys
        self._next = next(self._keys, None)

    def of(self, label: str, image: Source) -> str:
        """Return the correction of the image version that a label is about; empty if there is none.

        A correction of an earlier image under the same key does not apply to this one.
        """
        key = correction_key(image.key)
        if not (_is_elsewhere(label, key) or self._is_there(key)):
            return ""
        said = self._store.correction(image.key)
        return said.truth if said is not None and said.is_of(image) else ""

    def _is_there(self, key: str) -> bool:
        while self._next is not None and self._next.encode() < key.encode():
            self._next = next(self._keys, None)
        return self._next == key


def _is_elsewhere(label: str, correction: str) -> bool:
    """Whether the correction's key is hashed and the label's is not: listings differ there."""
    return label.removeprefix(PREFIX) != correction.removeprefix(CORRECTIONS)


def _row(label: Written, source: Source, truth: str) -> Row:
    sure = (digit.confidence for digit in label.digits or ())
    least = min((one for one in sure if one is not None), default=None)
    return Row(
        image=source.key,
        text=label.text or "",
        truth=truth,
        needs_review=label.needs_review,
        reason=label.reason or "",
        error=label.error.code if label.error else "",
        confidence=least,
        model=label.model.version if label.model else "",
        labelled_at=label.labelled_at or "",
    )


@contextlib.contextmanager
def _writer(out: Path | None, *, bom: bool) -> Iterator[tabular.Write]:
    if out is None:
        if bom:
            raise BadRequest("--bom needs a file: name one with --out FILE.")
        with files.standard_output() as stream:
            yield tabular.delimited(stream, _TABLE, ",")
        return
    ending = out.suffix.lower().removeprefix(".")
    if ending not in tabular.ENDINGS:
        raise BadRequest(
            f"The extension of {out} is not a known format: use one of"
            f" {', '.join(f'.{known}' for known in tabular.ENDINGS)}."
        )
    if bom and ending not in tabular.DELIMITERS:
        raise BadRequest("--bom applies to CSV and TSV only.")
    with files.whole(out) as file, tabular.writer(ending, file, _TABLE, bom=bom) as write:
        yield write


@dataclass
class Difference:
    """Two models' labels of the same images.

    Attributes
    ----------
    before, after
        The versions of the models that wrote the labels.
    images
        Images in both tables.
    same
        Images in both tables with the same reading.
    alike
        The readings that did not change, with their counts.
    only_before, only_after
        Images in one table only.
    review_before, review_after
        Images in both tables that are for review.
    changes
        Counts of (reading before, reading after) that differ.
    known, right_before, right_after
        Images in both tables with a correction, and how many readings agree with it.
    """

    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    images: int = 0
    same: int = 0
    only_before: int = 0
    only_after: int = 0
    review_before: int = 0
    review_after: int = 0
    alike: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    known: int = 0
    right_before: int = 0
    right_after: int = 0

    def count(self, before: Row, after: Row) -> None:
        """Count one image."""
        self.before.add(before.model)
        self.after.add(after.model)
        self.images += 1
        self.review_before += before.needs_review
        self.review_after += after.needs_review
        if before.text == after.text:
            self.same += 1
            self.alike[_short(before.text)] += 1
        else:
            self.changes[_short(before.text), _short(after.text)] += 1
        if truth := after.truth or before.truth:
            self.known += 1
            self.right_before += before.text == truth
            self.right_after += after.text == truth


def diff(before: str, after: str, count: Callable[[int], None]) -> Difference:
    """Compare two models' labels, in one pass through both.

    Parameters
    ----------
    before, after
        Tables that `collect` wrote, or s3:// addresses of labels.
    count
        Called now and then with the number of images compared since the last call.

    Raises
    ------
    BadRequest
        If one of them is not such a table, or not in the order that `collect` writes.
    StorageUnavailable
        If S3 does not answer, or refuses.
    """
    found = Difference()
    one, other = _sorted(before), _sorted(after)
    left, right = next(one, None), next(other, None)
    while left is not None or right is not None:
        if right is None or (left is not None and _order(left) < _order(right)):
            found.only_before += 1
            left = next(one, None)
        elif left is None or _order(right) < _order(left):
            found.only_after += 1
            right = next(other, None)
        else:
            found.count(left, right)
            if found.images % _AT_ONCE == 0:
                count(_AT_ONCE)
            left, right = next(one, None), next(other, None)
    return found


def _order(row: Row) -> bytes:
    return label_key(row.image).encode()


def _short(text: str) -> str:
    """Return a reading of at most one digit unchanged, and one name for all longer readings."""
    return text if len(text) < 2 else "a number"


def _sorted(table: str) -> Iterator[Row]:
    last = b""
    at = table.startswith("s3://")
    for row in chain.from_iterable(rows_of(table)) if at else _rows(Path(table)):
        if _order(row) < last:
            raise BadRequest(
                f"{table} is not in the order of `digits labels collect`: collect it again."
            )
        last = _order(row)
        yield row


def _rows(path: Path) -> Iterator[Row]:
    try:
        if path.suffix.lower() == ".parquet":
            _, parquet = tabular.pyarrow()
            for batch in parquet.ParquetFile(path).iter_batches():
                for line in batch.to_pylist():
                    yield Row(**{name: line[name] for name in Row._fields})
            return
        csv.field_size_limit(sys.maxsize)
        delimiter = tabular.DELIMITERS.get(path.suffix.lower().removeprefix("."), ",")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, delimiter=delimiter)
            if not set(Row._fields).issubset(table.fieldnames or ()):
                raise BadRequest(f"{path} is not a table of `digits labels collect`.")
            yield from map(Row.of_line, table)
    except OSError as error:
        raise BadRequest(f"Cannot read {path} ({error.strerror or error}).") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"{path} is not a table of `digits labels collect`.") from error
