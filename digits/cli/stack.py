"""A deployed stack, as the commands for whoever runs it see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from digits.errors import BadRequest, NotFound, StorageUnavailable

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


def client(service: str, **config: Any) -> Any:
    """A client with AWS's own credentials and region, whose connections suit many threads.

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
        raise BadRequest("This needs boto3; install it with `pip install boto3`.") from error
    retries: Any = {"mode": "standard", "max_attempts": 5}
    with answering():
        return boto3.client(
            service,  # type: ignore[call-overload]
            config=Config(connect_timeout=5, read_timeout=20, retries=retries, **config),
        )


@contextmanager
def answering() -> Iterator[None]:
    """Turn what AWS will not do into one line that says so. Raises `StorageUnavailable`."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        raise StorageUnavailable(
            f"AWS refused {error.operation_name} ({told.get('Code')}: {told.get('Message')});"
            " check the name, your credentials and their permissions."
        ) from error
    except BotoCoreError as error:
        raise StorageUnavailable(f"AWS cannot be asked: {error}") from error


def outputs(stack: str, cloudformation: CloudFormationClient | None = None) -> dict[str, str]:
    """The outputs of a deployed stack, by their names; asked of AWS, unless a client is given.

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
                f"There is no stack {stack} (ValidationError); deploy it first, or name another"
                " with --stack."
            ) from error
    return {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}


def output(stack: str, name: str) -> str:
    """One output of a deployed stack. Raises as `outputs`; `NotFound` if an older one lacks it."""
    found = outputs(stack)
    if name not in found:
        raise NotFound(f"The stack {stack} has no output {name}; deploy this version of it first.")
    return found[name]


def place(address: str) -> tuple[str, str]:
    """Bucket and prefix, or key, of an s3:// address. Raises `BadRequest` for another text."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise BadRequest(f"{address} is no s3:// address; give s3://bucket/prefix.")
    return bucket, key
