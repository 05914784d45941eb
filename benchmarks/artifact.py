"""The functions' artifact, built by the Makefile that `sam build` uses, for this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infra.local.cloud import ROOT, tool
from infra.local.processes import Processes


def build(processes: Processes, folder: Path) -> Path:
    """Build into an empty folder, for this machine's CPU and this Python; raises `Failed`."""
    folder.mkdir()
    processes.run(
        "building",
        ["make", "--silent", "--directory", str(ROOT / "lambda_predict"), "build-HttpApiFunction"],
        env={
            **os.environ,
            "ARTIFACTS_DIR": str(folder),
            "DIGITS_BUILD_ARCHITECTURE": "host",
            "DIGITS_BUILD_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
            "UV": str(tool(".venvs/uv", "uv")),
        },
    )
    return folder
