"""Fingerprints of everything that a result depends on: code, data files, libraries, settings."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_OURS = ("digits", "training_job")


def of(
    module: str, *settings: Any, files: Iterable[Path] = (), libraries: Iterable[str] = ()
) -> str:
    """Return the SHA-256 of everything that determines what `module` computes.

    Parameters
    ----------
    module
        Name of a module of this project. Its source is included, and that of all modules of this
        project that it imports directly or indirectly, except the packages' `__init__.py`, which
        hold only documentation.
    settings
        Other values that determine the result; JSON must be able to represent them.
    files
        Data files that it reads.
    libraries
        Distributions whose versions are included; Python's version always is.
    """
    decides = {
        "sources": {name: _sha256(_path(name)) for name in sorted(imported(module))},
        "files": {path.name: _sha256(path) for path in files},
        "versions": {name: version(name) for name in libraries},
        "python": platform.python_version(),
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@cache
def imported(module: str) -> frozenset[str]:
    """Return the names of this project's modules that `module` imports, and its own name."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and _path(name).is_file():
            found.add(name)
            waiting += _imports(_path(name))
    return frozenset(found)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(_OURS))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_OURS):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _path(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")).with_suffix(".py")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
