"""Run the fast benchmarks, and print the last records of the slow ones.

    make bench                                the tables in the README's section on performance
    .venv/bin/python -m benchmarks --record   and append the figures to benchmarks/records
    .venv/bin/python -m benchmarks --recorded print the last records, without measuring

Each benchmark can also be run alone: `python -m benchmarks.NAME`, with its own options.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from benchmarks import side_by_side
from benchmarks.side_by_side import console

MEASURED = {
    "coldstart": ("--rounds", "5"),
    "size": (),
    "latency": ("--rounds", "60"),
    "throughput": ("--rounds", "20"),
    "batch": ("--rounds", "40"),
    "memory": (),
}
UNRECORDED = {"cost": ()}
RECORDED = {"accuracy": (), "pages": ("--recorded",), "load": ("--recorded",)}


def main(
    record: side_by_side.RecordOption = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Print the last records.")] = False,
) -> None:
    """Run the benchmarks one after the other, each in a new process."""
    if recorded:
        for name in MEASURED:
            if figures := side_by_side.latest(name):
                side_by_side.show(figures)
        return
    failed = []
    keep = ("--record",) if record else ()
    wanted = {name: (*options, *keep) for name, options in MEASURED.items()}
    for name, options in {**wanted, **UNRECORDED, **RECORDED}.items():
        console.print(f"### {name}\n")
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False)  # noqa: S603 - ours
        if done.returncode:
            failed.append(name)
    if failed:
        console.print(f"Failed: {', '.join(failed)}.")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
