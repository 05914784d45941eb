"""Make a built artifact smaller and quicker to start by removing what the functions do not use.

    python infra/slim.py FOLDER SERVICE...

`lambda_predict/Makefile` runs it with any Python, so it imports the standard library only.
`tests/unit/test_artifact.py` runs the functions of the result.
"""

from __future__ import annotations

import ast
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Packages that import all their modules, of which the functions use one or two.
GATHERING = (
    "aws_lambda_powertools.event_handler",
    "aws_lambda_powertools.utilities.data_classes",
)
_LAZY = """\
import importlib

_MODULES = {modules}
__all__ = list(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    globals()[name] = value = getattr(importlib.import_module(_MODULES[name]), name)
    return value
"""


def main(artifact: Path, services: Sequence[str]) -> None:
    """Shorten the files that botocore reads for each client; make packages import lazily."""
    data = artifact / "botocore/data"
    for service in services:
        for path in (data / service).rglob("*.json.gz"):
            # Most of a description is documentation. A fixed mtime makes the bytes reproducible.
            described = _undocumented(json.loads(gzip.decompress(path.read_bytes())))
            _replace(path, gzip.compress(_compact(described), mtime=0))
    endpoints = data / "endpoints.json"
    _replace(endpoints, _compact(_only(services, json.loads(endpoints.read_bytes()))))
    for package in GATHERING:
        path = artifact / package.replace(".", "/") / "__init__.py"
        _replace(path, _lazy(path.read_text(), package).encode())


def _undocumented(described: Any) -> Any:
    """Empty the documentation of a description; botocore needs some of the keys."""
    if isinstance(described, list):
        return [_undocumented(it) for it in described]
    if not isinstance(described, dict):
        return described
    return {
        # A parameter may have this name, too; then its value is not a text.
        name: "" if name == "documentation" and isinstance(value, str) else _undocumented(value)
        for name, value in described.items()
    }


def _only(services: Sequence[str], endpoints: Any) -> Any:
    """Reduce botocore's list of endpoints from 300 services to those that are called."""
    for partition in endpoints["partitions"]:
        found = partition["services"]
        partition["services"] = {name: found[name] for name in services if name in found}
    return endpoints


def _lazy(source: str, package: str) -> str:
    """Write a package's `__init__.py` that imports its names at their first use (PEP 562).

    Raises
    ------
    ValueError
        If the original does anything but import names from its modules.
    """
    modules = {}
    for statement in ast.parse(source).body:
        match statement:
            case ast.ImportFrom(module=str(module), names=names, level=level) if level < 2:
                for alias in names:
                    if alias.asname not in (None, alias.name):
                        raise ValueError(f"{package} renames {alias.name}")
                    modules[alias.name] = f"{package}.{module}" if level else module
            case ast.Expr() | ast.Assign(targets=[ast.Name(id="__all__")]):
                pass
            case _:
                raise ValueError(f"{package} does more than gather: line {statement.lineno}")
    return _LAZY.format(modules=modules)


def _replace(path: Path, data: bytes) -> None:
    """Replace a file that uv may share, as a hard link, with its cache and other folders."""
    path.unlink()
    path.write_bytes(data)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
