"""The model bundle: parse its manifest, verify its files' digests, and load it from a folder.

A bundle is a folder that `training_job` writes and every interface serves from. It holds the
classifier, the segmentation network and the configuration for both. `manifest.json` is written
last, so a folder without it is an incomplete bundle. `registry` stores and promotes bundles.

Bundles of schema 1, which version 0.1.0 wrote, hold no segmentation network. Their manifests and
reports are read, listed and compared, but they cannot be served. This module does not load the
networks into LiteRT; it returns their bytes.
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

from digits.config import PREPROCESSING, Decision, RecognitionConfig
from digits.errors import ModelUnavailable
from digits.results import ModelInfo

MANIFEST = "manifest.json"
TFLITE = "mnist_cnn.tflite"
SEGMENTER = "segmenter.tflite"
CONFIG = "config.json"
REPORT = "report.json"
SHIPPED = Path(__file__).parents[1] / "model"

SCHEMA: Literal[2] = 2
SERVED_BY = {1: "0.1.0"}  # earlier schema: the version of this software that serves it

ReadFile = Callable[[str], bytes]
"""Returns the bytes of one file of a bundle, given the file's name."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
VERSION = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"
Version = Annotated[str, Field(pattern=VERSION)]


def _parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _check_time_zone(text: str) -> str:
    if _parse_timestamp(text).tzinfo is None:
        raise ValueError("a timestamp must name its time zone")
    return text


Timestamp = Annotated[str, AfterValidator(_check_time_zone)]
# A manifest is untrusted input. Without `..`, an absolute path or a leading dot, the name cannot
# point outside the bundle's folder or at a hidden file.
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]


class _ManifestPart(BaseModel):
    """Base of the manifest's models. Fields that a later version added are kept and shown."""

    # Deferred: the parts' validators are built once, with those of the whole manifest.
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class FileInfo(_ManifestPart):
    """Digest and size of one file of the bundle."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Data(_ManifestPart):
    """The training and test data: the set's name, and the SHA-256 of each array's bytes."""

    name: str
    sha256: dict[str, Sha256]


class Training(_ManifestPart):
    """The settings of the training run, and the library versions that the weights depend on."""

    epochs: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)]
    seed: int
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}
    parameters: Annotated[int, Field(gt=0)] | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None


class Input(_ManifestPart):
    """The classifier's input tensor, and the version of the preprocessing that produces it."""

    shape: tuple[int, int, int] = (28, 28, 1)
    range: tuple[float, float] = (0.0, 1.0)
    polarity: Literal["white on black"] = "white on black"
    preprocessing: str = PREPROCESSING


class Metrics(_ManifestPart):
    """The main metrics on the test set: shares of 1, and the log-likelihood in nats."""

    test_accuracy: Annotated[float, Field(ge=0, le=1)]
    negative_log_likelihood: Annotated[float, Field(ge=0)]
    expected_calibration_error: Annotated[float, Field(ge=0, le=1)]


class Manifest(_ManifestPart):
    """`manifest.json`: the bundle's version, its training, its metrics and its files.

    `derived_from` is the version whose classifier the bundle contains unchanged; None if the
    classifier was trained for this bundle.
    """

    schema_: Literal[1, 2] = Field(alias="schema")
    version: Version
    derived_from: Version | None = Field(default=None, exclude_if=lambda value: value is None)
    created: Timestamp
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
        """Time since the model was created."""
        return datetime.now(timezone.utc) - _parse_timestamp(self.created)

    def to_json(self) -> bytes:
        """Return the file's bytes: indented UTF-8 JSON that ends in a newline."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


@dataclass(frozen=True)
class Bundle:
    """The files of a bundle that serving needs, with their digests verified.

    Attributes
    ----------
    manifest : Manifest
        The manifest, of schema 2.
    manifest_sha256 : str
        SHA-256 of the manifest's bytes in hex.
    classifier, segmenter : bytes
        The two networks as LiteRT model files.
    config : RecognitionConfig
        The thresholds on the outputs of both networks.
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
    """Read the files of a bundle that serving needs and verify their digests.

    Parameters
    ----------
    read_file
        Returns the bytes of one file of the bundle, given its name.
    manifest_sha256
        The manifest's expected SHA-256 in hex, from the registry's pointer. None skips the check.

    Raises
    ------
    ModelUnavailable
        If the manifest or the configuration is not valid, if this software cannot serve the
        bundle, or if a file does not match its digest. Errors of `read_file` are passed on.
    """
    raw = read_file(MANIFEST)
    digest = sha256(raw)
    if manifest_sha256 is not None and digest != manifest_sha256:
        raise ModelUnavailable(
            f"{MANIFEST} does not match the digest in the pointer; publish the bundle again."
        )
    manifest = parse_manifest(raw)
    check_servable(manifest)
    classifier, segmenter, config = (
        read_one(read_file, manifest, name) for name in (TFLITE, SEGMENTER, CONFIG)
    )
    return Bundle(manifest, digest, classifier, segmenter, parse_config(config))


def load(folder: Path = SHIPPED) -> Bundle:
    """Load the bundle in `folder`; by default the one that is shipped with the package.

    Raises
    ------
    ModelUnavailable
        As for `read`, and if a file is missing or cannot be read.
    """
    return read(in_folder(folder))


def verify(read_file: ReadFile) -> Manifest:
    """Verify every file of a bundle of any schema, including files that serving does not read.

    Raises
    ------
    ModelUnavailable
        If a file is missing or does not match its digest. The message names the first such file.
    """
    manifest = parse_manifest(read_file(MANIFEST))
    for name in manifest.files:
        read_one(read_file, manifest, name)
    return manifest


def contents(read_file: ReadFile) -> tuple[Manifest, dict[str, bytes]]:
    """Read and verify all files of a bundle that this software can serve.

    Returns
    -------
    Manifest
        The parsed manifest.
    dict of str to bytes
        The bytes of each file by its name. The manifest is last, the order of a safe upload.

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
    """Read one file of a bundle and verify its digest.

    Raises
    ------
    ModelUnavailable
        If the manifest does not name the file, or the file does not match its digest.
    """
    if name not in manifest.files:
        raise ModelUnavailable(f"Model {manifest.version} has no {name}.")
    data = read_file(name)
    _check_digest(name, data, manifest)
    return data


def in_folder(folder: Path) -> ReadFile:
    """Return a function that reads files in `folder` and raises `ModelUnavailable` on failure."""

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

    Use `check_servable` to find out whether this software can also serve the bundle.

    Raises
    ------
    NewerSchema
        If the manifest's schema is later than `SCHEMA`.
    ModelUnavailable
        If the bytes are not a manifest, or it lacks a file that its schema requires.
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
    for name in required_files(manifest):
        if name not in manifest.files:
            raise ModelUnavailable(f"{MANIFEST} does not list {name}; publish the bundle again.")
    return manifest


def required_files(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the files that serving reads, without the manifest's own."""
    return (TFLITE,) if manifest.schema_ == 1 else (TFLITE, SEGMENTER, CONFIG)


def _schema(raw: bytes) -> int:
    """Return the schema number in an unvalidated manifest; 0 if there is none."""
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
        If it cannot. The message gives the reason, the version that can serve it, and what to do.
    """
    problem = serving_problem(manifest)
    if problem is not None:
        raise ModelUnavailable(problem)


def serving_problem(manifest: Manifest) -> str | None:
    """Return why this software cannot serve the bundle of a manifest; None if it can."""
    if manifest.schema_ != SCHEMA:
        return (
            f"Model {manifest.version} has bundle schema {manifest.schema_}, which version"
            f" {SERVED_BY[manifest.schema_]} of this software serves and this version does not;"
            f" train or publish a schema-{SCHEMA} model and promote it."
        )
    if manifest.input.preprocessing != PREPROCESSING:
        return (
            f"Model {manifest.version} was trained for preprocessing"
            f" {manifest.input.preprocessing}, but this software has {PREPROCESSING}. Retrain the"
            f" model, or serve it with the code at git commit {manifest.git_commit or 'unknown'}."
        )
    return None


def parse_config(raw: bytes) -> RecognitionConfig:
    """Parse the bytes of `config.json`.

    Raises
    ------
    ModelUnavailable
        If it is not valid JSON, lacks a value, or a value is out of range.
    """
    try:
        return RecognitionConfig.model_validate_json(raw)
    except ValidationError as error:
        raise ModelUnavailable(
            f"{CONFIG} is not a valid configuration ({first_problem(error)}); correct it and"
            " publish the bundle again."
        ) from error


def first_problem(error: ValidationError) -> str:
    """Return the location and the message of the first error of a validation."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"{field}: {first['msg']}"


def describe_file(path: Path) -> FileInfo:
    """Return the digest and the size of the file at `path`."""
    data = path.read_bytes()
    return FileInfo(sha256=sha256(data), bytes=len(data))


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def _check_digest(name: str, data: bytes, manifest: Manifest) -> None:
    if sha256(data) != manifest.files[name].sha256:
        raise ModelUnavailable(
            f"{name} of model {manifest.version} does not match its digest in {MANIFEST};"
            " publish the bundle again."
        )
