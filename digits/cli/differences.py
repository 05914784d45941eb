"""What sets two models apart, by their manifests and their reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from digits import bundle
from digits.bundle import REPORT
from digits.cli.models import Model
from digits.errors import ModelUnavailable
from digits.storage import StoreUnreachable

# Digests of files say nothing to anyone, and the schema is the same.
_NOT_COMPARED = {"files", "schema_"}
# Shown even if they are the same in both: what one looks for first.
_ALWAYS = ("version", "created", "metrics.")


@dataclass(frozen=True)
class Difference:
    """One figure or setting in two models; None where a model has none."""

    name: str
    before: Any
    after: Any

    @property
    def change(self) -> float | None:
        """By how much a number grew."""
        numbers = [self.before, self.after]
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
            return None
        return float(self.after - self.before)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"change": self.change}


def between(one: Model, other: Model, *, everything: bool = False) -> list[Difference]:
    """What differs, in the order of the manifest and then of the report.

    Raises
    ------
    StoreUnreachable
        If a report cannot be fetched. A model without one is compared by its manifest.
    """
    before, after = _facts(one), _facts(other)
    names = dict.fromkeys([*before, *after])
    rows = (Difference(name, before.get(name), after.get(name)) for name in names)
    return [
        row for row in rows if everything or row.before != row.after or row.name.startswith(_ALWAYS)
    ]


def _facts(model: Model) -> dict[str, Any]:
    manifest = model.manifest.model_dump(mode="json", by_alias=True, exclude=_NOT_COMPARED)
    return dict(_flat(manifest)) | {f"report.{name}": v for name, v in _flat(_report(model))}


def _report(model: Model) -> dict[str, Any]:
    try:
        raw = bundle.read_one(model.read_file, model.manifest, REPORT)
    except StoreUnreachable:
        raise
    except ModelUnavailable:
        return {}
    try:
        report = json.loads(raw)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Single facts under dotted names; tables, which are for pictures, are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif not (isinstance(value, list) and any(isinstance(v, (list, dict)) for v in value)):
            yield f"{above}{name}", value
