"""Every figure: what is quick is measured, what takes long is printed from its records.

    make bench                                what stands in README's section on performance
    .venv/bin/python -m benchmarks --record   and keep the figures, dated, in benchmarks/records
    .venv/bin/python -m benchmarks --recorded print the last of these, and measure nothing

Each benchmark is a command of its own, `python -m benchmarks.NAME`, with its own options.
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
TOLD = {"accuracy": (), "pages": ("--recorded",), "load": ("--recorded",)}


def main(
    record: side_by_side.Record = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Print the last records.")] = False,
) -> None:
    """Run one benchmark after the other; each in a process that no other has warmed."""
    if recorded:
        for name in MEASURED:
            if figures := side_by_side.latest(name):
                side_by_side.show(figures)
        return
    failed = []
    keep = ("--record",) if record else ()
    wanted = {name: (*options, *keep) for name, options in MEASURED.items()}
    for name, options in {**wanted, **UNRECORDED, **TOLD}.items():
        console.print(f"### {name}\n")
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False)  # noqa: S603 - ours
        if done.returncode:
            failed.append(name)
    if failed:
        console.print(f"Not complete: {', '.join(failed)}.")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
