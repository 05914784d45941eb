"""Show models and gate verdicts: as tables for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from digits.cli import differences, files
from digits.cli.differences import Difference
from digits.cli.models import Model, Row
from digits.registry import bundle
from digits.registry.bundle import SEGMENTER, TFLITE, Manifest
from digits.registry.gate import Criterion


def write(table: Table) -> None:
    """Print a table."""
    with files.standard_output() as stream:
        files.draw(table, stream)


def write_json(document: Any) -> None:
    """Print one JSON document."""
    with files.standard_output() as stream:
        ascii_only = not files.is_utf8(stream)
        stream.write(json.dumps(document, indent=2, ensure_ascii=ascii_only) + "\n")


def write_criteria(criteria: Sequence[Criterion], *, as_json: bool) -> None:
    """Print the gate's checks with bounds and measured values."""
    if as_json:
        write_json([item.to_json() for item in criteria])
        return
    table = Table("criterion", _right("value"), _right("bound"), "", "why")
    verdicts = {True: ("passed", "green"), False: ("failed", "bold red"), None: ("–", "dim")}
    for item in criteria:
        bound = "" if item.bound is None else f"{item.sense} {item.shown(item.bound)}"
        verdict = Text(*verdicts[item.passed])
        table.add_row(item.name, item.shown(item.value), bound, verdict, Text(item.why))
    write(table)


def versions(rows: Sequence[Row]) -> Table:
    """Build the table of versions, one row each."""
    table = Table(
        "version", "created", "schema", "architecture", "recipe", _right("test accuracy"), ""
    )
    for row in rows:
        manifest = row.stored.manifest
        known = (
            (manifest.created, str(manifest.schema_), manifest.architecture, manifest.recipe,
             f"{manifest.metrics.test_accuracy:.2%}")
            if manifest
            else ("–", "–", "–", "–", "–")
        )  # fmt: skip
        table.add_row(Text(row.stored.version), *map(Text, known), _state(row))
    return table


def differing(found: Sequence[Difference], before: str, after: str) -> Table:
    """Build the table of differences between two models."""
    table = Table("", before, after, _right("change"))
    for item in found:
        change = "" if not item.change else f"{item.change:+.4g}"
        table.add_row(Text(item.name), Text(_fact(item.before)), Text(_fact(item.after)), change)
    return table


def model(found: Model) -> Table:
    """Build the table of one model's figures and settings."""
    manifest, metrics, pointer = found.manifest, found.manifest.metrics, found.pointer
    table = Table(title=f"Model {manifest.version}", show_header=False, title_justify="left")
    rows = {
        "in service since": pointer.promoted if pointer else None,
        "before it": pointer.previous if pointer else None,
        "promoted in spite of the gate": pointer.forced if pointer else None,
        "serving": _not_served(manifest),
        "schema": str(manifest.schema_),
        "created": manifest.created,
        "derived from": manifest.derived_from,
        "git commit": manifest.git_commit or "unknown",
        "architecture": manifest.architecture,
        "recipe": f"{manifest.recipe}, {manifest.training.epochs} epochs,"
        f" batch {manifest.training.batch_size}, seed {manifest.training.seed}",
        "test accuracy": f"{metrics.test_accuracy:.2%}",
        "negative log-likelihood": f"{metrics.negative_log_likelihood:.4f} nats",
        "expected calibration error": f"{metrics.expected_calibration_error:.2%}",
        "temperature": f"{manifest.decision.temperature:.4f}",
        "review below": f"{manifest.decision.threshold:.2%} confidence",
        "preprocessing": manifest.input.preprocessing,
        "classifier": _network(manifest, TFLITE),
        "segmentation network": _network(manifest, SEGMENTER),
        **{
            f"config: {name}": _fact(value)
            for name, value in differences.flat(differences.configuration(found))
        },
        "files": f"{len(manifest.files)},"
        f" {sum(file.bytes for file in manifest.files.values()):,} bytes",
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, Text(value))
    return table


def _not_served(manifest: Manifest) -> str | None:
    if bundle.serving_problem(manifest) is None:
        return None
    old = manifest.schema_ != bundle.SCHEMA
    what = f"schema {manifest.schema_}" if old else f"preprocessing {manifest.input.preprocessing}"
    return f"{what}: cannot be served by this version"


def _network(manifest: Manifest, name: str) -> str | None:
    file = manifest.files.get(name)
    return f"{file.bytes:,} bytes, SHA-256 {file.sha256}" if file else None


def _state(row: Row) -> Text:
    state = Text.assemble(
        ("in service" if row.in_service else "previous" if row.previous else "", "green")
    )
    if row.stored.problem:
        state.append(f"{'; ' if state else ''}{row.stored.problem}", "red")
    return state


def _fact(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _right(name: str) -> Column:
    return Column(name, justify="right")
