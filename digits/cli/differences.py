"""What sets two models apart, by their manifests and their reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from digits.cli.models import Model
from digits.errors import ModelUnavailable
from digits.registry import bundle
from digits.registry.bundle import CONFIG, REPORT, SEGMENTER, TFLITE
from digits.registry.object_store import StoreUnreachable

# Of the files only the networks' are compared, under these names: the others follow from them.
_NOT_COMPARED = {"files", "schema_"}
_NETWORKS = {"classifier": TFLITE, "segmenter": SEGMENTER}
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
    """What differs, in the order of the manifest, the configuration and the report.

    Raises
    ------
    StoreUnreachable
        If a file cannot be fetched. A model without a report or a configuration is compared by the
        rest.
    """
    before, after = _facts(one), _facts(other)
    names = dict.fromkeys([*before, *after])
    rows = (Difference(name, before.get(name), after.get(name)) for name in names)
    return [
        row for row in rows if everything or row.before != row.after or row.name.startswith(_ALWAYS)
    ]


def _facts(model: Model) -> dict[str, Any]:
    manifest = model.manifest.model_dump(mode="json", by_alias=True, exclude=_NOT_COMPARED)
    networks = {
        name: model.manifest.files[file].model_dump()
        for name, file in _NETWORKS.items()
        if file in model.manifest.files
    }
    return (
        dict(flat(manifest))
        | {"schema": model.manifest.schema_}
        | dict(flat(networks))
        | dict(flat(configuration(model), "config."))
        | dict(flat(_document(model, REPORT), "report."))
    )


def configuration(model: Model) -> dict[str, Any]:
    """The configuration of a model as it is written; empty if it has none."""
    return _document(model, CONFIG)


def _document(model: Model, name: str) -> dict[str, Any]:
    """A file of a model that holds a JSON object; empty if it is not there or not valid."""
    try:
        raw = bundle.read_one(model.read_file, model.manifest, name)
    except StoreUnreachable:
        raise
    except ModelUnavailable:
        return {}
    try:
        document = json.loads(raw)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Single facts under dotted names; tables, which are for pictures, are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        elif not (isinstance(value, list) and any(isinstance(v, (list, dict)) for v in value)):
            yield f"{above}{name}", value
