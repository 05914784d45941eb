"""What the functions' artifact weighs unpacked, for each CPU, and what is in it.

    python -m benchmarks.size

Packages are compiled where there is a Python of the functions' version; the build for this machine
and its own Python always has one, and tells what that weighs. What was left out, and that the rest
still answers, is `lambda_predict/Makefile`'s and `tests/unit/test_artifact.py`'s business.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from benchmarks import artifact, side_by_side
from benchmarks.side_by_side import Bar, Row
from infra.local.processes import Processes

LAMBDA_LIMIT = 250.0  # megabytes, unpacked
LARGEST = 6  # packages to name


def main(record: side_by_side.Record = False) -> None:
    """Build for each CPU and print the table."""
    rows = []
    with TemporaryDirectory() as folder, Processes(Path(folder) / "logs") as processes:
        for cpu in ("arm64", "x86_64", "host"):
            built = artifact.build(processes, Path(folder) / cpu, cpu=cpu)
            whole = _megabytes(built)
            limit = Bar("median", "≤", 100)
            rows.append(Row(f"{cpu}, unpacked", [whole], "MB", (limit,), ("Lambda's limit",)))
            parts = sorted(((_megabytes(it), it.name) for it in built.iterdir()), reverse=True)
            rows += [Row(f"{cpu}: {name}", [size], "MB") for size, name in parts[:LARGEST]]
    rows.append(Row("Lambda's limit", [LAMBDA_LIMIT], "MB"))
    side_by_side.tell("size", "artifact", rows, record=record)


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(it.stat().st_size for it in files if it.is_file()) / 1e6


if __name__ == "__main__":
    typer.run(main)
