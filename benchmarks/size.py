"""Unpacked size of the functions' deployment artifact for each CPU, and its largest packages.

    python -m benchmarks.size

Packages are compiled only if a Python of the functions' version is installed; the build `host`, for
this machine's CPU and Python, always includes compiled modules. `lambda_predict/Makefile` removes
files that are not needed, and `tests/unit/test_artifact.py` tests the rest.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from benchmarks import artifact, side_by_side
from benchmarks.side_by_side import Series, Target
from infra.local.processes import Processes

# Megabytes, unpacked: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_LIMIT = 250.0
LARGEST = 6  # number of packages to list


def main(record: side_by_side.RecordOption = False) -> None:
    """Build the artifact for each CPU and print the table."""
    rows = []
    with TemporaryDirectory() as folder, Processes(Path(folder) / "logs") as processes:
        for cpu in ("arm64", "x86_64", "host"):
            built = artifact.build(processes, Path(folder) / cpu, cpu=cpu)
            whole = _megabytes(built)
            limit = Target("median", "≤", 100)
            rows.append(Series(f"{cpu}, unpacked", [whole], "MB", (limit,), ("Lambda's limit",)))
            parts = sorted(((_megabytes(it), it.name) for it in built.iterdir()), reverse=True)
            rows += [Series(f"{cpu}: {name}", [size], "MB") for size, name in parts[:LARGEST]]
    rows.append(Series("Lambda's limit", [LAMBDA_LIMIT], "MB"))
    side_by_side.report("size", "artifact", rows, record=record)


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(it.stat().st_size for it in files if it.is_file()) / 1e6


if __name__ == "__main__":
    typer.run(main)
