"""Remove a deployed stack, and then its buckets, which CloudFormation retains, with their content.

    python -m infra.destroy --stack digits
    python -m infra.destroy --stack digits-prod --unprotect

The stack is removed first: if that fails, no data is lost. After an interruption, run the command
again: CloudFormation lists the retained buckets of a deleted stack for 90 days.
Region and credentials are boto3's defaults.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import ClientError, WaiterError
from rich.console import Console
from rich.progress import Progress, TextColumn

from infra import stacks
from infra.stacks import CannotBeDone, run

console = Console(soft_wrap=True, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def destroy(
    stack: Annotated[str, typer.Option(help="Name of the stack.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="Keep the buckets and their content.")
    ] = False,
    unprotect: Annotated[
        bool,
        typer.Option(
            "--unprotect", help="Remove the stack even if it is protected against removal."
        ),
    ] = False,
) -> None:
    """Remove a stack and its buckets with every image, label and model."""
    stack_id, is_there = _find(stack)
    is_protected = is_there and stacks.described(stack_id).get("EnableTerminationProtection")
    if is_protected and not unprotect:
        raise CannotBeDone(
            f"{stack} is protected against removal; to remove it, give --unprotect:"
            f" make destroy STACK={stack} ARGS=--unprotect"
        )
    left = [] if keep_data else [name for name in _buckets(stack_id) if _exists(name)]
    if not is_there and not left:
        raise CannotBeDone(
            f"There is no stack {stack}, and no bucket of one: check --stack and the region."
        )
    console.print(f"This removes the stack [bold]{stack}[/]" if is_there else "This removes")
    for name in left:
        console.print(f"  the bucket {name} with {_how_many(name)} versions of objects")
    if not yes and typer.prompt(f"Type {stack} to go on", default="") != stack:
        raise CannotBeDone("Nothing was removed.")
    if is_protected:
        boto3.client("cloudformation").update_termination_protection(
            StackName=stack, EnableTerminationProtection=False
        )
    if is_there:
        _remove_stack(stack_id)
        console.print(f"removed the stack {stack}")
    for name in left:
        if _exists(name):
            _remove_bucket(name)
        console.print(f"removed the bucket {name}")


def _find(stack: str) -> tuple[str, bool]:
    """Return the id of the stack, or of the last deleted one of that name; whether it exists."""
    cloudformation = boto3.client("cloudformation")
    try:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        return found["StackId"], True
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
    pages = cloudformation.get_paginator("list_stacks").paginate(
        StackStatusFilter=["DELETE_COMPLETE"]
    )
    gone = [it for page in pages for it in page["StackSummaries"] if it["StackName"] == stack]
    if not gone:
        raise CannotBeDone(f"There is no stack {stack} in this account and region: check --stack.")
    return max(gone, key=lambda it: it["CreationTime"])["StackId"], False


def _buckets(stack_id: str) -> list[str]:
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources")
    return [
        resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=stack_id)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::S3::Bucket"
    ]


def _exists(bucket: str) -> bool:
    try:
        boto3.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return False
        raise
    return True


def _how_many(bucket: str) -> str:
    answer: Any = boto3.client("s3").list_object_versions(Bucket=bucket)
    number = len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))
    return f"more than {number:,}" if answer["IsTruncated"] else f"{number:,}"


def _remove_stack(stack_id: str) -> None:
    cloudformation = boto3.client("cloudformation")
    cloudformation.delete_stack(StackName=stack_id)
    try:
        with console.status("removing the stack"):
            cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack_id)
    except WaiterError as error:
        raise CannotBeDone(
            "CloudFormation could not remove the stack: see its events. No bucket was changed."
        ) from error


def _remove_bucket(bucket: str) -> None:
    """Remove every version of every object, incomplete uploads, and the bucket."""
    s3 = boto3.client("s3")
    with Progress(
        TextColumn("emptying {task.fields[bucket]}: {task.completed:,} removed"), console=console
    ) as progress:
        task = progress.add_task("", total=None, bucket=bucket)
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = iter([*page.get("Versions", []), *page.get("DeleteMarkers", [])])
            while some := list(islice(found, 1000)):  # S3's limit on the objects of one call
                names: Any = [{"Key": it["Key"], "VersionId": it["VersionId"]} for it in some]
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": names, "Quiet": True})
                if errors := answer.get("Errors"):
                    first = errors[0]
                    raise CannotBeDone(
                        f"{bucket}/{first['Key']} cannot be deleted: {first['Message']}"
                    )
                progress.advance(task, len(some))
    for uploads in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in uploads.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    s3.delete_bucket(Bucket=bucket)


if __name__ == "__main__":
    run(app)
