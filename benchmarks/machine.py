"""Which machine a figure was measured on, and when."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path


def described() -> dict[str, str | int]:
    """The processor, how many of its cores there are, the system and the UTC date."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
    }


def in_words(told: dict[str, str | int]) -> str:
    """What `described` gave, as a line under a table."""
    return f"{told['cores']} cores of {told['cpu']}, {told['date']}"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
