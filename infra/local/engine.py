"""A container engine and a base image for machines that cannot reach an image registry.

It needs root on Debian. Debian's containerd and dockerd run with sockets, a bridge and folders of
their own, and share no image, container or firewall rule with an engine that the machine already
runs. Built images stay in the folder, so that the next start is quick.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.local import pip_settings
from infra.local.cloud import ROOT, tool
from infra.local.processes import Failed, Processes

FOLDER = ROOT / ".local-cloud/engine"

_PACKAGES = {"dockerd": "docker.io", "debootstrap": "debootstrap", "ip": "iproute2"}
# The path of Debian's package: another client, earlier in PATH, may lack the builder.
_DOCKER = "/usr/bin/docker"
_SUITE = "trixie"  # its Python is 3.13, like the functions' runtime
_INCLUDED = ("ca-certificates", "python3", "python3-pip", "python3-venv")
_LEFT_OUT = ("./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*", "./dev/*")

Say = Callable[[str], object]


class NoEngine(Exception):
    """No engine can be set up here; the message gives the reason in one line."""


@dataclass(frozen=True)
class Engine:
    """A running engine.

    Attributes
    ----------
    address
        The value of ``DOCKER_HOST`` for this engine.
    folder
        The folder of its images and other persistent data.
    bridge
        The name of its network.
    processes
        Its processes and their logs.
    """

    address: str
    folder: Path
    bridge: str
    processes: Processes

    @property
    def env(self) -> dict[str, str]:
        """Return this process's environment, set to use this engine."""
        return {**os.environ, "DOCKER_HOST": self.address}

    @property
    def gateway(self) -> str:
        """Return this machine's address on the containers' network."""
        (link,) = json.loads(_ip("-json", "-4", "address", "show", "dev", self.bridge))
        return str(link["addr_info"][0]["local"])

    def docker(self, *arguments: str, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `docker` with these arguments, whatever its exit code; at most `within` seconds."""
        return subprocess.run(  # noqa: S603 - our own commands
            [_DOCKER, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def build(self, dockerfile: Path, context: Path, tag: str, **arguments: str) -> str:
        """Build an image with this machine's pip settings as build secrets; return its tag.

        Raises
        ------
        Failed
            If it cannot be built.
        """
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        with TemporaryDirectory(prefix="digits-secrets-") as folder:
            secrets = pip_settings.secrets(tool(".venvs/uv", "python"), Path(folder))
            given += [f"--secret=id={name},src={file}" for name, file in secrets.items()]
            command = [
                *(_DOCKER, "build", "--progress=plain", "--network=host", f"--tag={tag}"),
                *(f"--file={dockerfile}", *given, str(context)),
            ]
            env = self.env | {"DOCKER_BUILDKIT": "1"}
            self.processes.run(f"building {tag.partition(':')[0]}", command, env=env)
        return tag

    def debian(self, say: Say) -> str:
        """Return the tag of an image of Debian with Python 3.13 and pip; build it at its first use.

        Raises
        ------
        NoEngine
            If Debian's packages cannot be fetched.
        """
        tag = f"digits-debian:{_SUITE}"
        if self.docker("image", "inspect", tag).returncode == 0:
            return tag
        say(f"Making {tag}, the base image (a minute or two)")
        with TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as made:
            root, packed = Path(made, "root"), Path(made, "root.tar")
            include = f"--include={','.join(_INCLUDED)}"
            left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
            try:
                for name, command in (
                    (
                        "debootstrap",
                        ["debootstrap", "--variant=minbase", include, _SUITE, str(root)],
                    ),
                    ("tar", ["tar", "-C", str(root), *left_out, "-cf", str(packed), "."]),
                    ("docker import", [_DOCKER, "import", str(packed), tag]),
                ):
                    self.processes.run(name, command, env=self.env)
            except Failed as failed:
                raise NoEngine(f"no base image: {failed}") from failed
        return tag


@contextmanager
def running(say: Say, folder: Path = FOLDER) -> Iterator[Engine]:
    """Run an engine for the duration of the block; `say` is called with slow steps.

    Raises
    ------
    NoEngine
        If this machine cannot have one.
    """
    _check_machine()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        with Processes(folder / "logs") as processes:
            _install(processes, say)
        with (
            _bridge() as bridge,
            # A socket's path may have 107 bytes; a path in the checkout may be longer.
            TemporaryDirectory(prefix="digits-engine-", ignore_cleanup_errors=True) as sockets,
            Processes(folder / "logs") as processes,
        ):
            engine = Engine(f"unix://{sockets}/docker.sock", folder, bridge, processes)
            _start(engine, Path(sockets))
            try:
                yield engine
            finally:
                _clean_up(engine)


def _check_machine() -> None:
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise NoEngine("no container engine: only root on Linux can start one")
    if shutil.which("apt-get") is None:
        raise NoEngine("no container engine: starting one needs Debian's packages (apt-get)")


def _install(processes: Processes, say: Say) -> None:
    """Install the packages of missing programs."""
    missing = [package for program, package in _PACKAGES.items() if not shutil.which(program)]
    if not missing:
        return
    say(f"Installing {', '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "-o", "Acquire::Retries=3"]
    try:
        processes.run("apt-get update", [*apt, "update"], env=env)
        processes.run(
            "apt-get install", [*apt, "install", "--no-install-recommends", *missing], env=env
        )
    except Failed as failed:
        raise NoEngine(f"no container engine: {failed}") from failed


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that a second engine cannot use it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NoEngine(f"no container engine: another one is running in {folder}") from error
        yield


@contextmanager
def _bridge() -> Iterator[str]:
    """Create a network bridge and return its name; dockerd assigns a free address.

    The default bridge, docker0, belongs to the machine's engine.
    """
    name = f"digits{os.getpid()}"
    _ip("link", "add", name, "type", "bridge")
    try:
        yield name
    finally:
        _ip("link", "delete", name)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise NoEngine(f"no container engine: {done.stderr.strip()}")
    return done.stdout


def _start(engine: Engine, sockets: Path) -> None:
    """Start containerd and dockerd with settings of their own, not with the machine's."""
    containerd = sockets / "containerd.sock"
    settings = {
        "containerd": containerd,
        "data-root": engine.folder / "data/docker",
        "exec-root": sockets / "docker",
        "pidfile": sockets / "docker.pid",
        "hosts": [engine.address],
        "cgroup-parent": "/digits",
        "builder": {"gc": {"enabled": True, "defaultKeepStorage": "5GB"}},
        "bridge": engine.bridge,
        # dockerd's proxy serves published ports; the firewall is not changed.
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "ip-masq": False,
    }
    (sockets / "dockerd.json").write_text(json.dumps(settings, default=str))
    (sockets / "containerd.toml").write_text(
        f"""
        version = 2
        root = "{engine.folder / "data/containerd"}"
        state = "{sockets / "containerd"}"
        disabled_plugins = ["io.containerd.grpc.v1.cri"]
        [grpc]
        address = "{containerd}"
        """
    )
    try:
        engine.processes.start(
            "containerd",
            ["containerd", "--config", str(sockets / "containerd.toml")],
            env=engine.env,
            is_up=containerd.exists,
            within=30,
        )
        engine.processes.start(
            "dockerd",
            ["dockerd", "--config-file", str(sockets / "dockerd.json")],
            env=engine.env,
            is_up=lambda: engine.docker("version").returncode == 0,
            within=60,
        )
    except Failed as failed:
        raise NoEngine(f"no container engine: {failed}") from failed


def _clean_up(engine: Engine) -> None:
    """Remove every container, and the images that newer ones have replaced."""
    if left := engine.docker("ps", "--all", "--quiet").stdout.split():
        engine.docker("rm", "--force", *left)
    engine.docker("image", "prune", "--force")
