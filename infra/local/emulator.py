"""Run a function under Lambda's runtime interface emulator, without a container.

The emulator is part of SAM's command line and listens on a port; the first event that is posted
there starts the function's process, which then stays warm. Unlike a plain call of the handler, it
imports the module in an empty process, passes events as bytes, refuses answers that are not JSON,
and keeps the process.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import Any

from infra.local.cloud import CPU, ROOT
from infra.local.processes import Failed, Processes, answers

SAM = ROOT / ".venvs/sam/lib"
# The runtime's client: on AWS in /var/runtime, here among the development packages.
_RUNTIME = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")


@dataclass(frozen=True)
class Function:
    """A function that can be invoked."""

    port: int

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Return the answer to an event. Raises `HTTPError` with the error's description."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/2015-03-31/functions/function/invocations",
            json.dumps(event).encode(),
        )
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310 - a local address
            return json.loads(answer.read())


class Emulator:
    """Starts functions, each in a Python that sees its own folders and the runtime, nothing else.

    Parameters
    ----------
    scratch
        An empty folder, for the runtime.

    Raises
    ------
    Failed
        If SAM's command line is not installed.
    """

    def __init__(self, scratch: Path) -> None:
        found = list(SAM.glob(f"python*/site-packages/samcli/local/rapid/aws-lambda-rie-{CPU}"))
        if not found:
            raise Failed("The emulator is not installed: run `make setup`")
        self._emulator, self._runtime = found[0], scratch
        for name in _RUNTIME:
            path = _installed(name)
            (self._runtime / path.name).symlink_to(path)

    def start(
        self,
        processes: Processes,
        name: str,
        handler: str,
        folders: Sequence[Path],
        env: Mapping[str, str],
    ) -> Function:
        """Start the emulator of a function on a free port; the function is not imported yet.

        Parameters
        ----------
        processes
            Stops it in the end.
        name
            The function's name, in `env` and in the logs.
        handler
            Module and function, with dots.
        folders
            Folders of its modules and packages; the first is the task's root.
        env
            Environment variables in addition to Lambda's.
        """
        port, runtime_port = free_port(), free_port()
        processes.start(
            name,
            [
                str(self._emulator), "--log-level", "error",
                "--runtime-interface-emulator-address", f"127.0.0.1:{port}",
                "--runtime-api-address", f"127.0.0.1:{runtime_port}",
                sys.executable, "-S", "-m", "awslambdaric", handler,
            ],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(map(str, [*folders, self._runtime])),
                "PYTHONDONTWRITEBYTECODE": "1",  # /var/task cannot be written on AWS
                "LAMBDA_TASK_ROOT": str(folders[0]),
                "AWS_LAMBDA_FUNCTION_NAME": name,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "POWERTOOLS_METRICS_NAMESPACE": "Digits",
                "POWERTOOLS_SERVICE_NAME": name,
                **env,
            },
            is_up=lambda: answers(port),
            within=30,
        )  # fmt: skip
        return Function(port)


def _installed(name: str) -> Path:
    """Return the folder of a package, or the file of a module."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise Failed(f"{name} is not installed: run `make setup`")
    path = Path(spec.origin)
    return path.parent if path.name == "__init__.py" else path


def free_port() -> int:
    """Return a free port of this machine."""
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
