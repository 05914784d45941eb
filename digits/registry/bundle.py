"""The model bundle: its manifest, its files and their digests, and loading one from a folder.

A bundle is a folder that `training_job` writes and every interface serves from. It holds the
classifier, the segmentation network and the configuration for both. `manifest.json` is written
last, so a folder without it is not a bundle yet. `registry` keeps bundles.

Bundles of schema 1, which version 0.1.0 wrote, hold no segmentation network. Their manifests and
reports are read, listed and compared, but they cannot be served. This module loads no network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from digits.config import PREPROCESSING, RecognitionConfig
from digits.errors import ModelUnavailable
from digits.results import ModelInfo

MANIFEST = "manifest.json"
TFLITE = "mnist_cnn.tflite"
SEGMENTER = "segmenter.tflite"
CONFIG = "config.json"
REPORT = "report.json"
SHIPPED = Path(__file__).parents[1] / "model"

SCHEMA: Literal[2] = 2
SERVED_BY = {1: "0.1.0"}  # the version of this software that serves an earlier schema

ReadFile = Callable[[str], bytes]
"""Gives the bytes of a file of one bundle by its name."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
VERSION = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"
Version = Annotated[str, Field(pattern=VERSION)]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _aware(text: str) -> str:
    if _moment(text).tzinfo is None:
        raise ValueError("a moment must name its time zone")
    return text


Moment = Annotated[str, AfterValidator(_aware)]
# Below the bundle's own folder whatever a stranger's manifest says: no `..`, nothing hidden.
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]


class _Part(BaseModel):
    """Fields of a later writer are kept, so that a manifest is shown whole."""

    # Deferred, parts are built with the manifest as a whole and not each by itself before.
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class FileInfo(_Part):
    """Digest and size of one file of the bundle."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Data(_Part):
    """What the model was trained on: SHA-256 of each array's bytes."""

    name: str
    sha256: dict[str, Sha256]


class Training(_Part):
    """What went into a run: all its settings, and the versions that the weights depend on."""

    epochs: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)]
    seed: int
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}
    parameters: Annotated[int, Field(gt=0)] | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None


class Input(_Part):
    """What the network expects, and the preprocessing that makes it."""

    shape: tuple[int, int, int] = (28, 28, 1)
    range: tuple[float, float] = (0.0, 1.0)
    polarity: Literal["white on black"] = "white on black"
    preprocessing: str = PREPROCESSING


class Rejector(_Part):
    """The reject option: whether a frame shows a digit at all.

    The classifier's second output is the log-odds of a digit. A frame whose probability is below
    `threshold` is rejected as not a digit.
    """

    threshold: Annotated[float, Field(ge=0, le=1)]


class Decision(_Part):
    """How logits become an answer.

    ``softmax(logits / temperature)`` are the probabilities; an answer whose largest one is below
    `threshold` is marked for review, as is one that the rejector rejects.
    """

    temperature: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    rejector: Rejector | None = None

    @property
    def least_digit(self) -> float:
        """How likely a frame must be a digit at all, 0 to 1."""
        return self.rejector.threshold if self.rejector else 0.0

    def sure_digit(self, config: RecognitionConfig) -> float:
        """How likely it must be one to need no review, 0 to 1."""
        if self.rejector is None:
            return 0.0
        return max(self.rejector.threshold, config.classification.sure_digit)


class Metrics(_Part):
    """The headline figures on the untouched test set, each a share of 1 (the second in nats)."""

    test_accuracy: Annotated[float, Field(ge=0, le=1)]
    negative_log_likelihood: Annotated[float, Field(ge=0)]
    expected_calibration_error: Annotated[float, Field(ge=0, le=1)]


class Manifest(_Part):
    """`manifest.json`: what the bundle is, how it came about and what is in it.

    `derived_from` is the version whose classifier the bundle took over unchanged, if it did.
    """

    schema_: Literal[1, 2] = Field(alias="schema")
    version: Version
    derived_from: Version | None = Field(default=None, exclude_if=lambda value: value is None)
    created: Moment
    git_commit: str | None
    data: Data
    architecture: str
    recipe: str
    training: Training
    input: Input
    decision: Decision
    metrics: Metrics
    files: dict[FileName, FileInfo]

    @property
    def age(self) -> timedelta:
        """How long ago the model was made."""
        return datetime.now(timezone.utc) - _moment(self.created)

    def to_json(self) -> bytes:
        """The file's bytes: UTF-8 JSON, indented for a reader, ending in a newline."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


@dataclass(frozen=True)
class Bundle:
    """What serving needs of a bundle, read and checked.

    Attributes
    ----------
    manifest : Manifest
        Of schema 2.
    manifest_sha256 : str
        In hex.
    classifier, segmenter : bytes
        The two networks, as LiteRT loads them.
    config : RecognitionConfig
        The thresholds for both.
    """

    manifest: Manifest
    manifest_sha256: str
    classifier: bytes
    segmenter: bytes
    config: RecognitionConfig

    @property
    def model_info(self) -> ModelInfo:
        """The `model` field of every result."""
        return ModelInfo(
            version=self.manifest.version,
            sha256=self.manifest.files[TFLITE].sha256,
            preprocessing=self.manifest.input.preprocessing,
        )


def read(read_file: ReadFile, *, manifest_sha256: str | None = None) -> Bundle:
    """Read the served part of a bundle and check every digest on the way.

    Parameters
    ----------
    read_file
        Gives the bytes of a file of the bundle by its name.
    manifest_sha256
        The manifest's expected SHA-256 in hex, where a pointer names it.

    Raises
    ------
    ModelUnavailable
        If the manifest or the configuration is not valid, if this software cannot serve the
        bundle, or if a file is not the one that the manifest describes. Whatever `read_file`
        raises passes through.
    """
    raw = read_file(MANIFEST)
    digest = sha256(raw)
    if manifest_sha256 is not None and digest != manifest_sha256:
        raise ModelUnavailable(
            f"{MANIFEST} is not the one that was promoted; publish the bundle again."
        )
    manifest = parse_manifest(raw)
    check_servable(manifest)
    classifier, segmenter, config = (
        read_one(read_file, manifest, name) for name in (TFLITE, SEGMENTER, CONFIG)
    )
    return Bundle(manifest, digest, classifier, segmenter, parse_config(config))


def load(folder: Path = SHIPPED) -> Bundle:
    """Load the bundle in `folder`: by default the one that ships with the code.

    Raises
    ------
    ModelUnavailable
        As for `read`, and if a file is missing or cannot be read.
    """
    return read(in_folder(folder))


def verify(read_file: ReadFile) -> Manifest:
    """Check every file of a bundle, of any schema, also those that are not served.

    Raises
    ------
    ModelUnavailable
        Naming the first file that is missing or differs from the manifest.
    """
    manifest = parse_manifest(read_file(MANIFEST))
    for name in manifest.files:
        read_one(read_file, manifest, name)
    return manifest


def contents(read_file: ReadFile) -> tuple[Manifest, dict[str, bytes]]:
    """Read a whole bundle that this software can serve: every file's bytes, the manifest's last.

    Raises
    ------
    ModelUnavailable
        As for `read`, and for any file that the manifest names.
    """
    raw = read_file(MANIFEST)
    manifest = parse_manifest(raw)
    check_servable(manifest)
    files = {name: read_one(read_file, manifest, name) for name in manifest.files}
    parse_config(files[CONFIG])
    return manifest, files | {MANIFEST: raw}


def read_one(read_file: ReadFile, manifest: Manifest, name: str) -> bytes:
    """One file of a bundle, checked.

    Raises
    ------
    ModelUnavailable
        If the manifest names no such file, or it is not the one that the manifest describes.
    """
    if name not in manifest.files:
        raise ModelUnavailable(f"Model {manifest.version} has no {name}.")
    data = read_file(name)
    _check_digest(name, data, manifest)
    return data


def in_folder(folder: Path) -> ReadFile:
    """A reader of the files in `folder`; it raises `ModelUnavailable` where it cannot."""

    def read_file(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise ModelUnavailable(
                f"Cannot read {name} of the model bundle in {folder} ({error.strerror});"
                " check the folder, or train a model with `make train`."
            ) from error

    return read_file


class NewerSchema(ModelUnavailable):
    """The bundle was written by a later version of this software."""


def parse_manifest(raw: bytes) -> Manifest:
    """Parse a manifest of any schema that this software can read.

    Whether it can also serve the bundle is what `check_servable` says.

    Raises
    ------
    NewerSchema
        If the manifest has a schema that this software does not know.
    ModelUnavailable
        If it is not a manifest, or names no network where its schema asks for one.
    """
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        schema = _schema(raw)
        if schema > SCHEMA:
            raise NewerSchema(
                f"{MANIFEST} has bundle schema {schema}, and this software reads schemas up to"
                f" {SCHEMA}; upgrade this software."
            ) from error
        raise ModelUnavailable(
            f"{MANIFEST} is not a valid manifest ({first_problem(error)}); publish the bundle"
            " again."
        ) from error
    for name in served(manifest):
        if name not in manifest.files:
            raise ModelUnavailable(f"{MANIFEST} names no {name}; publish the bundle again.")
    return manifest


def served(manifest: Manifest) -> tuple[str, ...]:
    """The files of a bundle that serving reads, beside the manifest."""
    return (TFLITE,) if manifest.schema_ == 1 else (TFLITE, SEGMENTER, CONFIG)


def _schema(raw: bytes) -> int:
    """The schema that a manifest claims to have; 0 if it claims none."""
    try:
        schema = json.loads(raw)["schema"]
    except (ValueError, TypeError, KeyError):
        return 0
    return schema if isinstance(schema, int) else 0


def check_servable(manifest: Manifest) -> None:
    """Check that this software can serve the bundle of a manifest.

    Raises
    ------
    ModelUnavailable
        Naming the reason, the code that can serve it, and what to do.
    """
    problem = unservable(manifest)
    if problem is not None:
        raise ModelUnavailable(problem)


def unservable(manifest: Manifest) -> str | None:
    """Why this software cannot serve the bundle of a manifest; None if it can."""
    if manifest.schema_ != SCHEMA:
        return (
            f"Model {manifest.version} has bundle schema {manifest.schema_}, which version"
            f" {SERVED_BY[manifest.schema_]} of this software serves and this version does not;"
            f" train or publish a schema-{SCHEMA} model and promote it."
        )
    if manifest.input.preprocessing != PREPROCESSING:
        return (
            f"Model {manifest.version} was trained for preprocessing"
            f" {manifest.input.preprocessing}, but this software has {PREPROCESSING}; the code at"
            f" git commit {manifest.git_commit or 'unknown'} serves it. Retrain it, or use that"
            " code."
        )
    return None


def parse_config(raw: bytes) -> RecognitionConfig:
    """Parse a configuration.

    Raises
    ------
    ModelUnavailable
        If it is not valid, or lacks a value.
    """
    try:
        return RecognitionConfig.model_validate_json(raw)
    except ValidationError as error:
        raise ModelUnavailable(
            f"{CONFIG} is not a valid configuration ({first_problem(error)}); give every value in"
            " its range and publish the bundle again."
        ) from error


def first_problem(error: ValidationError) -> str:
    """Where a document is wrong first, and how."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"{field}: {first['msg']}"


def describe_file(path: Path) -> FileInfo:
    """Digest and size of the file at `path`."""
    data = path.read_bytes()
    return FileInfo(sha256=sha256(data), bytes=len(data))


def sha256(data: bytes) -> str:
    """SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def _check_digest(name: str, data: bytes, manifest: Manifest) -> None:
    if sha256(data) != manifest.files[name].sha256:
        raise ModelUnavailable(
            f"{name} of model {manifest.version} does not match its digest in {MANIFEST};"
            " publish the bundle again."
        )
