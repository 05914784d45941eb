"""Build the functions' deployment artifact with the Makefile that `sam build` uses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infra.local.cloud import ROOT, tool
from infra.local.processes import Processes


def build(processes: Processes, folder: Path, *, cpu: str = "host") -> Path:
    """Build the artifact into a new folder, and return the folder.

    `cpu` is an architecture of the template, or ``"host"`` for this machine's CPU and Python.

    Raises
    ------
    Failed
        If the build fails.
    """
    folder.mkdir()
    home = {"DIGITS_BUILD_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}"}
    processes.run(
        "building",
        ["make", "--silent", "--directory", str(ROOT / "lambda_predict"), "build-HttpApiFunction"],
        env={
            **os.environ,
            "ARTIFACTS_DIR": str(folder),
            "DIGITS_BUILD_ARCHITECTURE": cpu,
            "UV": str(tool(".venvs/uv", "uv")),
            **(home if cpu == "host" else {}),
        },
    )
    return folder
