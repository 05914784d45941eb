"""Models in tables for people."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from digits.cli.models import Model


def write(*tables: Table) -> None:
    """Print tables; lines are broken for the width of a terminal only."""
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(*tables)


def model(found: Model) -> Table:
    """What a person asks of one model."""
    manifest, metrics, pointer = found.manifest, found.manifest.metrics, found.pointer
    table = Table(title=f"Model {manifest.version}", show_header=False, title_justify="left")
    rows = {
        "in service since": pointer.promoted if pointer else None,
        "before it": pointer.previous if pointer else None,
        "promoted in spite of the gate": pointer.forced if pointer else None,
        "created": manifest.created,
        "git commit": manifest.git_commit or "unknown",
        "architecture": manifest.architecture,
        "recipe": f"{manifest.recipe}, {manifest.training.epochs} epochs,"
        f" batch {manifest.training.batch_size}, seed {manifest.training.seed}",
        "test accuracy": f"{metrics.test_accuracy:.2%}",
        "negative log-likelihood": f"{metrics.negative_log_likelihood:.4f} nats",
        "expected calibration error": f"{metrics.expected_calibration_error:.2%}",
        "temperature": f"{manifest.decision.temperature:.4f}",
        "review below": f"{manifest.decision.threshold:.2%} confidence",
        "files": f"{len(manifest.files)},"
        f" {sum(file.bytes for file in manifest.files.values()):,} bytes",
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, Text(value))
    return table
