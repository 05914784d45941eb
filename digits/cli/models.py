"""Find and load the model that an argument of the command line names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digits.errors import BadRequest
from digits.registry import bundle, gate, object_store, registry, runs
from digits.registry.bundle import MANIFEST, VERSION, Bundle, Manifest, ReadFile
from digits.registry.gate import Promotion
from digits.registry.object_store import NotInStore
from digits.registry.registry import Pointer, StoredVersion

if TYPE_CHECKING:
    from digits.classifier import Classifier

_RUNS = "runs/"
_IN_STORE = re.compile(
    rf"(?P<store>.*?)[/\\]?\bmodels[/\\](?P<version>{VERSION.strip('^$')})[/\\]?"
)


@dataclass(frozen=True)
class Model:
    """A model, and the pointer through which it was found; None if it was named directly."""

    manifest: Manifest
    read_file: ReadFile
    pointer: Pointer | None = None


@dataclass(frozen=True)
class Row:
    """A version in a registry, and its role in the pointer: in service, previous or neither."""

    stored: StoredVersion
    in_service: bool
    previous: bool

    def to_json(self) -> dict[str, Any]:
        """Return the item of the JSON list."""
        manifest = self.stored.manifest
        return {
            "version": self.stored.version,
            "created": manifest.created if manifest else None,
            "architecture": manifest.architecture if manifest else None,
            "recipe": manifest.recipe if manifest else None,
            "schema": manifest.schema_ if manifest else None,
            "test_accuracy": manifest.metrics.test_accuracy if manifest else None,
            "in_service": self.in_service,
            "previous": self.previous,
            "problem": self.stored.problem,
        }


def find(address: str | None, version: str | None = None) -> Model:
    """Find the model at an address, or `version` of the registry there.

    Parameters
    ----------
    address
        A registry, for its model in service; a bundle's folder; ``STORE/models/VERSION``; None for
        the model that ships with the code.
    version
        A version in the registry at `address`.

    Raises
    ------
    BadRequest
        If a version is given without a registry.
    ModelUnavailable
        If there is no such model, or its manifest cannot be read.
    """
    if address is None:
        if version is not None:
            raise BadRequest("--version needs the STORE that holds it.")
        return _read(bundle.in_folder(bundle.SHIPPED))
    if version is None and (Path(address) / MANIFEST).is_file():
        return _read(bundle.in_folder(Path(address)))
    if version is None and (named := _IN_STORE.fullmatch(address)):
        address, version = named["store"] or ".", named["version"]
    models = object_store.open_store(address)
    if version is not None:
        return _read(registry.in_store(models, version))
    found = registry.current(models)
    assert found is not None  # noqa: S101 - only a conditional read gives None
    return _read(registry.in_store(models, found[0].version), found[0])


def named(name: str, address: str | None) -> Model:
    """Find the model that `name` means: a version in the registry at `address`, or as for `find`.

    Raises
    ------
    BadRequest
        If it is a version and no registry is given.
    ModelUnavailable
        As for `find`.
    """
    if not re.fullmatch(VERSION, name):
        return find(name)
    if address is None:
        raise BadRequest(f"{name} is a version: name the STORE that holds it.")
    return find(address, name)


def listed(address: str) -> list[Row]:
    """List every version in the registry at `address`, the oldest first.

    Raises
    ------
    NotInStore
        If no model is in service.
    StoreUnreachable
        If the registry does not answer, or refuses.
    """
    models = object_store.open_store(address)
    pointer = registry.pointer_state(models).pointer
    now, before = (pointer.version, pointer.previous) if pointer else (None, None)
    found = registry.versions(models)
    if not found:
        raise NotInStore(
            f"There is no model in {address}: check the address, or promote a model to it."
        )
    return [Row(item, item.version == now, item.version == before) for item in found]


def promoted(candidate: str, address: str, forced: str | None) -> Promotion:
    """Promote a version in the registry at `address`, a run's model there, or a bundle's folder.

    Raises
    ------
    Refused
        If the gate refuses it and nothing forces it.
    ModelUnavailable, Conflict
        As for `gate.promote`, and if LiteRT cannot load its networks.
    """
    if forced is not None and not forced.strip():
        raise BadRequest("--force needs a reason.")
    models = object_store.open_store(address)
    if candidate.startswith(_RUNS):
        candidate = runs.version_of(candidate.removeprefix(_RUNS), models)
    elif (Path(candidate) / MANIFEST).is_file():
        candidate = registry.upload(Path(candidate), models).version
    load_classifier(bundle.read(registry.in_store(models, candidate)))
    return gate.promote(candidate, models, forced=forced)


def rolled_back(address: str, to: str | None) -> Pointer:
    """Put `to`, or the previous version, in service in the registry at `address`.

    Raises
    ------
    NotInStore, ModelUnavailable, Conflict, StoreUnreachable
        As for `registry.roll_back`, and if LiteRT cannot load the networks. The pointer is then
        unchanged.
    """
    return registry.roll_back(object_store.open_store(address), to, check=load_classifier)


def load_classifier(loaded: Bundle) -> Classifier:
    """Load the classifier. Raises `ModelUnavailable` if LiteRT or a network cannot be loaded."""
    from digits import Classifier  # noqa: PLC0415 - LiteRT: not for what runs no model

    return Classifier(loaded)


def _read(read_file: ReadFile, pointer: Pointer | None = None) -> Model:
    return Model(bundle.parse_manifest(read_file(MANIFEST)), read_file, pointer)
