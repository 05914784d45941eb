"""A local AWS, and `sam build` and `sam deploy` of the real template into it.

`LocalCloud` holds every difference between this deployment and one to AWS: the endpoint and its
placeholder credentials, the interpreter and CPU of the build (the local cloud runs functions in its
own interpreter), the build folder (so that `sam deploy` cannot send this build to AWS), features
that the local cloud lacks, numbers that it keeps as text, and the form of the API's address.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from digits.cli import stack
from infra.local.processes import Processes, answers, check_port_is_free

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).parents[2]
STACK = "digits-local"
REGION = "us-east-1"
CPU = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"  # AWS names


@dataclass(frozen=True)
class Deployment:
    """Addresses, buckets and key of the deployed stack."""

    api_url: str
    api_key: str
    images_bucket: str
    labels_bucket: str
    models_bucket: str


@dataclass(frozen=True)
class LocalCloud:
    """A local AWS on one address of this machine; it holds every difference from AWS.

    Attributes
    ----------
    port
        The port that it listens on.
    host
        The address that it listens on: the loopback interface's, unless containers must reach it.
    engine
        ``DOCKER_HOST`` of the container engine that runs its tasks; None for the machine's.
    """

    port: int
    host: str = "127.0.0.1"
    engine: str | None = None

    @property
    def endpoint(self) -> str:
        """Return the address of every service."""
        return f"http://{self.host}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """Return this process's environment with the local cloud as the only endpoint."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return own | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "SAM_CLI_TELEMETRY": "0",
        }

    @property
    def build_env(self) -> dict[str, str]:
        """Return what `sam build` builds for: the interpreter and CPU of this machine."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.env | {
            "DIGITS_BUILD_ARCHITECTURE": "host",
            "DIGITS_BUILD_PYTHON": version,
            "UV": str(tool(".venvs/uv", "uv")),
        }

    @property
    def parameters(self) -> dict[str, str]:
        """Return the template's parameters that differ from their defaults."""
        return {"Architecture": CPU, "SnapStart": "None", "MetricMathAlarms": "false"}

    def api_url(self, aws_url: str) -> str:
        """Return the local address of an API whose address on AWS would be `aws_url`."""
        host, _, stage = aws_url.removeprefix("https://").partition("/")
        return f"{self.endpoint}/_aws/execute-api/{host.partition('.')[0]}/{stage}"

    def client(self, service: Any) -> Any:
        """Create a boto3 client of the local cloud, whatever the environment says."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the local cloud checks no credentials
        )

    def s3(self) -> S3Client:
        """Create an S3 client of the local cloud."""
        client: S3Client = self.client("s3")
        return client

    def start(self, processes: Processes, state: Path) -> None:
        """Start it empty.

        Raises
        ------
        Failed
            If its port is in use or it does not come up.
        """
        check_port_is_free(self.port, "the local cloud", "PORT", self.host)
        env = self.env | {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": self.host,
            "STATE_DIR": str(state / "services"),
            "S3_DATA_DIR": str(state / "s3"),
            "TMPDIR": str(state),
            "PERSIST_STATE": "0",
            "IOT_MTLS_ENABLED": "0",  # by default it listens on every interface
        }
        if self.engine is not None:
            env["DOCKER_HOST"] = self.engine
        processes.start(
            "local cloud",
            [str(tool(".venvs/local-cloud", "ministack"))],
            env=env,
            is_up=lambda: answers(self.port, self.host),
            within=30,
        )

    def build(self, processes: Processes, out: Path, root: Path = ROOT) -> bool:
        """Run `sam build` into `out`, unless its inputs are unchanged; return whether it ran.

        `root` is the folder with the template and its files: this checkout, or one of another
        release.
        """
        stamp = out.with_name(f"{out.name}-from")
        inputs = [root / "template.yaml", root / "samconfig.toml", root / "infra/slim.py"]
        inputs += [root / "requirements/lambda.txt"]
        inputs += [*files_of(root / "lambda_predict"), *files_of(root / "digits")]
        digest = digest_of(inputs, self.build_env["DIGITS_BUILD_PYTHON"], root=root)
        if (out / "template.yaml").exists() and _reads(stamp) == digest:
            return False
        stamp.unlink(missing_ok=True)
        command = [
            str(tool(".venvs/sam", "sam")), "build", "--build-dir", str(out),
            "--config-file", str(root / "samconfig.toml"),
            "--template-file", str(root / "template.yaml"),
        ]  # fmt: skip
        processes.run("sam build", command, env=self.build_env)
        stamp.write_text(digest)
        return True

    def deploy(
        self, processes: Processes, built: Path, parameters: Mapping[str, str] | None = None
    ) -> Deployment:
        """Run `sam deploy` on the output of `build`, and return the deployment.

        `parameters` are set in addition to those that the local cloud needs.

        Raises
        ------
        Failed
            If the deployment fails.
        """
        given = {**self.parameters, **(parameters or {})}
        overrides = [f"{name}={value}" for name, value in given.items()]
        command = [
            str(tool(".venvs/sam", "sam")), "deploy", "--stack-name", STACK, "--region", REGION,
            "--config-file", str(ROOT / "samconfig.toml"),
            "--template-file", str(built / "template.yaml"),
            "--no-confirm-changeset", "--parameter-overrides", *overrides,
        ]  # fmt: skip
        processes.run("sam deploy", command, env=self.env)
        self._set_numeric_concurrency()
        outputs = self.outputs()
        key = self.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)
        return Deployment(
            api_url=self.api_url(outputs["ApiUrl"]),
            api_key=key["value"],
            images_bucket=outputs["ImagesBucket"],
            labels_bucket=outputs["LabelsBucket"],
            models_bucket=outputs["ModelsBucket"],
        )

    def _set_numeric_concurrency(self) -> None:
        """Set the queues' concurrency again: the local cloud keeps a parameter's number as text."""
        functions = self.client("lambda")
        for it in functions.list_event_source_mappings()["EventSourceMappings"]:
            concurrency = int(it["ScalingConfig"]["MaximumConcurrency"])
            functions.update_event_source_mapping(
                UUID=it["UUID"], ScalingConfig={"MaximumConcurrency": concurrency}
            )

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the deployed stack, by their names."""
        return stack.outputs(STACK, self.client("cloudformation"))


def tool(environment: str, name: str) -> Path:
    """Return the path of a program in an environment of `make setup`."""
    return ROOT / environment / "bin" / name


def files_of(package: Path) -> list[Path]:
    """List every file of a package and its subpackages, with model files, without caches."""
    files = (path for path in package.rglob("*") if path.is_file())
    return [path for path in files if path.parent.name != "__pycache__"]


def digest_of(files: Iterable[Path], *settings: str, root: Path = ROOT) -> str:
    """Return the SHA-256 over the paths below `root` and the bytes of `files`, and `settings`."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for file in sorted(files):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _reads(stamp: Path) -> str | None:
    return stamp.read_text() if stamp.exists() else None
