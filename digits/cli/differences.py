"""Compare two models by their manifests, configurations and reports."""

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

# Only the networks' files are compared, under these names: the other files derive from them.
_NOT_COMPARED = {"files", "schema_"}
_NETWORKS = {"classifier": TFLITE, "segmenter": SEGMENTER}
# Facts that identify a model, shown even if both models agree.
_ALWAYS = ("version", "created", "metrics.")


@dataclass(frozen=True)
class Difference:
    """One figure or setting in two models; None where a model has none."""

    name: str
    before: Any
    after: Any

    @property
    def change(self) -> float | None:
        """`after` minus `before`; None unless both are numbers."""
        numbers = [self.before, self.after]
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
            return None
        return float(self.after - self.before)

    def to_json(self) -> dict[str, Any]:
        """Return the item of the JSON list."""
        return asdict(self) | {"change": self.change}


def between(one: Model, other: Model, *, everything: bool = False) -> list[Difference]:
    """Return the facts that differ, in the order of manifest, configuration and report.

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
    """Return the configuration of a model as its file has it; empty if it has none."""
    return _document(model, CONFIG)


def _document(model: Model, name: str) -> dict[str, Any]:
    """Read a file of a model that holds a JSON object; empty if it is missing or not valid."""
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
    """Yield scalar facts under dotted names; tables, which the plots use, are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        elif not (isinstance(value, list) and any(isinstance(v, (list, dict)) for v in value)):
            yield f"{above}{name}", value
