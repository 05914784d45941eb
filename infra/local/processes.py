"""Start other programs and stop them with their children."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn

_GRACE_SECONDS = 5.0


class Failed(Exception):
    """A step failed; the message says in one line what to do."""


class Processes:
    """The processes that were started here; leaving the `with` block stops them.

    Each program leads its own process group, so that Ctrl-C reaches only this process, which then
    stops the groups with their children.

    Parameters
    ----------
    logs
        Folder for the programs' output.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Processes:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _, process in reversed(self._running):
            _stop_group(process)

    def run(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], show: bool = False
    ) -> str:
        """Run a program to its end and return its output.

        With `show` it prints to the terminal instead, for programs with a progress bar.

        Raises
        ------
        Failed
            If it is not installed or exits with an error.
        """
        log = self._log(name)
        with log.open("wb") as stream:
            process = self._popen(name, command, env, None if show else stream)
            code = process.wait()
        self._running.remove((name, process))
        if code:
            raise Failed(f"{name} failed (exit code {code}){'' if show else _last_line(log)}")
        return log.read_text(errors="replace")

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        is_up: Callable[[], bool],
        within: float,
    ) -> None:
        """Start a server and wait until it answers.

        Raises
        ------
        Failed
            If it exits, or does not answer within that many seconds.
        """
        log = self._log(name)
        with log.open("wb") as stream:
            process = self._popen(name, command, env, stream)
        deadline = time.monotonic() + within
        while not is_up():
            if process.poll() is not None:
                raise Failed(f"{name} stopped by itself{_last_line(log)}")
            if time.monotonic() > deadline:
                raise Failed(f"{name} did not answer within {within:.0f} s{_last_line(log)}")
            time.sleep(0.1)

    def wait_for_any(self) -> None:
        """Wait, until one of the servers stops by itself.

        Raises
        ------
        Failed
            When it does.
        """
        while True:
            for name, process in self._running:
                if process.poll() is not None:
                    raise Failed(f"{name} stopped by itself{_last_line(self._log(name))}")
            time.sleep(0.5)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name.replace(' ', '-')}.log"

    def _popen(
        self, name: str, command: Sequence[str], env: Mapping[str, str], output: IO[bytes] | None
    ) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Failed(f"{command[0]} is not installed: run `make setup`") from error
        self._running.append((name, process))
        return process


def end_once() -> None:
    """End this process at the first signal, and ignore further ones.

    A second Ctrl-C must not interrupt the stopping of the programs.
    """
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, _: object) -> NoReturn:
        for sign in signs:
            signal.signal(sign, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for sign in signs:
        signal.signal(sign, end)


def check_port_is_free(port: int, what: str, setting: str, host: str = "127.0.0.1") -> None:
    """Raise `Failed` if something listens on this port of `host` already."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Failed(
                f"Port {port} for {what} is in use: stop its program, or choose another port:"
                f" `make run {setting}={port + 1000}`"
            ) from error


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether something accepts connections on this port of `host`."""
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """End the group by SIGTERM, then by SIGKILL, with members that outlive their leader."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()} (full log: {log})" if lines else ""
