"""Access to a deployed stack: clients, outputs, addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from digits.errors import BadRequest, NotFound, StorageUnavailable

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


def client(service: str, **config: Any) -> Any:
    """Create a boto3 client with the default credentials and region, and connections for threads.

    Raises
    ------
    BadRequest
        If boto3 is not installed.
    StorageUnavailable
        If no region or credentials are set.
    """
    try:
        import boto3  # noqa: PLC0415 - local work needs no AWS
        from botocore.config import Config  # noqa: PLC0415
    except ImportError as error:
        raise BadRequest(
            "This command needs boto3: install it with `pip install boto3`."
        ) from error
    retries: Any = {"mode": "standard", "max_attempts": 5}
    with answering():
        return boto3.client(
            service,  # type: ignore[call-overload]
            config=Config(connect_timeout=5, read_timeout=20, retries=retries, **config),
        )


@contextmanager
def answering() -> Iterator[None]:
    """Turn boto3's exceptions into `StorageUnavailable` with a message of one line."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        reported = error.response.get("Error", {})
        raise StorageUnavailable(
            f"AWS refused {error.operation_name}"
            f" ({reported.get('Code')}: {reported.get('Message')}):"
            " check the name, your credentials and their permissions."
        ) from error
    except BotoCoreError as error:
        raise StorageUnavailable(f"AWS cannot be reached: {error}") from error


def outputs(stack: str, cloudformation: CloudFormationClient | None = None) -> dict[str, str]:
    """Return the outputs of a deployed stack by name.

    Raises
    ------
    NotFound
        If there is no such stack.
    StorageUnavailable
        If AWS does not answer.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415

    asked = cloudformation or client("cloudformation")
    with answering():
        try:
            (found,) = asked.describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise NotFound(
                f"There is no stack {stack} (ValidationError): deploy it first, or name another"
                " with --stack."
            ) from error
    return {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}


def output(stack: str, name: str) -> str:
    """Return one output of a stack. Raises as `outputs`; `NotFound` if an older stack lacks it."""
    found = outputs(stack)
    if name not in found:
        raise NotFound(f"The stack {stack} has no output {name}: deploy this version first.")
    return found[name]


def place(address: str) -> tuple[str, str]:
    """Split an s3:// address into bucket and key or prefix. Raises `BadRequest` for other text."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise BadRequest(f"{address} is not an s3:// address: give s3://bucket/prefix.")
    return bucket, key
