"""Write this machine's pip settings as secrets for an image build."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

# Path of the certificates in a build: BuildKit mounts the secret `ca.crt` there.
_MOUNTED_CERTIFICATES = "/run/secrets/ca.crt"
# Settings for the package index; the others concern this machine's own disk.
_KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")


def secrets(python: Path, folder: Path) -> dict[str, Path]:
    """Write this machine's settings to `folder`; return the file of each secret by its id.

    Parameters
    ----------
    python
        An interpreter that has pip.
    folder
        Folder for the files; they may hold a password, so remove it after the build.
    """
    settings = _settings(python)
    lines = [f"{name} = {settings[name]}" for name in _KEPT if name in settings]
    files = {"pip.conf": folder / "pip.conf"}
    if certificates := settings.get("cert") or os.environ.get("SSL_CERT_FILE"):
        lines.append(f"cert = {_MOUNTED_CERTIFICATES}")
        files["ca.crt"] = Path(certificates)
    files["pip.conf"].write_text("\n".join(["[global]", *lines, ""]))
    return files


def _settings(python: Path) -> dict[str, str]:
    """Return pip's settings by name, from its files and the environment, which has priority."""
    command = [str(python), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    # Lines such as  global.index-url='https://…'  and  :env:.index-url='https://…'.
    pairs = [line.split("=", 1) for line in listed.splitlines() if "=" in line]
    pairs.sort(key=lambda pair: pair[0].startswith(":env:"))
    settings = {key.rpartition(".")[2]: str(ast.literal_eval(value)) for key, value in pairs}
    for name in ("index-url", "extra-index-url"):
        # A folder of this machine does not exist in the container.
        reachable = [url for url in settings.get(name, "").split() if url.startswith("http")]
        settings[name] = " ".join(reachable)
    return {name: value for name, value in settings.items() if value}
