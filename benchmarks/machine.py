"""Describe the machine of a measurement, and measure memory and time of its processes."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal


def described() -> dict[str, str | float]:
    """Return the processor, cores, load average, system, Python version and UTC date."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
    }


def in_words(machine: dict[str, str | float]) -> str:
    """Format the result of `described` as a line under a table."""
    load = f" at a load of {machine['load']}" if "load" in machine else ""
    return f"{machine['cores']} cores of {machine['cpu']}{load}, {machine['date']}"


def resident_megabytes(file: Literal["cmdline", "environ"], words: bytes) -> dict[int, float]:
    """Return the resident megabytes of the processes whose /proc file contains `words` (Linux)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            if words in (folder / file).read_bytes():
                pages = int((folder / "statm").read_text().split()[1])
                found[int(folder.name)] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return found


def processor_milliseconds(process: int) -> float:
    """Return the processor time that all threads of a process have used so far (Linux)."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e6


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
