"""Start a backfill, an execution of the stack's state machine, and follow its progress."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from digits.cli.labels.backlog import Places
from digits.cli.stack import answering, client, place
from digits.errors import BadRequest, Conflict, NotFound

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Progress:
    """Progress of a backfill; `total` is None until the whole listing is read."""

    done: int
    total: int | None


class Backfill:
    """One execution of the backfill's state machine."""

    def __init__(self, machine: SFNClient, arn: str) -> None:
        self._machine = machine
        self.arn = arn

    @classmethod
    def start(cls, where: Places, *, relabel: bool, inventory: str | None) -> tuple[Backfill, bool]:
        """Start a backfill, or find the running one of the same input; return which it was.

        A relabelling backfill resumes an earlier one that did not succeed: it skips labels that
        were written since the *first* start.

        Raises
        ------
        BadRequest, NotFound
            If the state machine cannot read the inventory.
        Conflict
            If a backfill with another input is running.
        StorageUnavailable
            If AWS does not answer, or refuses.
        """
        wanted: dict[str, Any] = {"prefix": where.prefix}
        if inventory:
            wanted["inventory"] = _manifest(where, inventory)
        machine: SFNClient = client("stepfunctions")
        with answering():
            for run in _runs(machine, where.machine, statusFilter="RUNNING"):
                if run.is_for(wanted, relabel=relabel):
                    return cls(machine, run.arn), True
                raise Conflict(
                    f"Another backfill is running: {run.arn}; wait until it ends, or stop it."
                )
            since = None
            if relabel:
                since = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
                for run in _runs(machine, where.machine, maxResults=1):
                    if run.is_for(wanted, relabel=True) and run.status != "SUCCEEDED":
                        since = run.told["since"]
            started = machine.start_execution(
                stateMachineArn=where.machine, input=json.dumps(wanted | {"since": since})
            )
        return cls(machine, started["executionArn"]), False

    def watch(self) -> Iterator[Progress]:
        """Yield the progress every two seconds until the execution ends.

        Raises
        ------
        Conflict
            If it ends without success.
        StorageUnavailable
            If AWS does not answer, or refuses.
        """
        while True:
            with answering():
                found = self._machine.describe_execution(executionArn=self.arn)
            yield self._progress()
            if found["status"] == "SUCCEEDED":
                return
            if found["status"] != "RUNNING":
                raise Conflict(
                    f"The backfill ended as {found['status']}"
                    f" ({found.get('cause') or found.get('error') or 'no cause given'})."
                    " Correct that and run the same command again: it resumes where it stopped."
                )
            time.sleep(_POLL_SECONDS)

    def _progress(self) -> Progress:
        """Read the map run's item counts; an endpoint without map runs gives None."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            runs = self._machine.list_map_runs(executionArn=self.arn).get("mapRuns")
            if not runs:
                return Progress(0, None)
            counts = self._machine.describe_map_run(mapRunArn=runs[0]["mapRunArn"])["itemCounts"]
        except ClientError:
            return Progress(0, None)
        done = counts["succeeded"] + counts["failed"] + counts["timedOut"]
        return Progress(done, counts["total"] or None)


@dataclass(frozen=True)
class _Run:
    """An execution, running or ended, and its input."""

    arn: str
    status: str
    told: dict[str, Any]

    def is_for(self, wanted: dict[str, Any], *, relabel: bool) -> bool:
        work = {name: it for name, it in self.told.items() if name != "since"}
        return work == wanted and bool(self.told.get("since")) == relabel


def _runs(machine: SFNClient, arn: str, **which: Any) -> Iterator[_Run]:
    """Executions of the state machine, the newest first."""
    for it in machine.list_executions(stateMachineArn=arn, **which)["executions"]:
        told = machine.describe_execution(executionArn=it["executionArn"])["input"]
        yield _Run(it["executionArn"], it["status"], json.loads(told))


class _Manifest(BaseModel):
    """The fields of an S3 Inventory manifest that are used here.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
    """

    bucket: Annotated[str, Field(alias="sourceBucket")]
    format: Annotated[str, Field(alias="fileFormat")]
    columns: Annotated[str, Field(alias="fileSchema")]


def _manifest(where: Places, address: str) -> dict[str, str]:
    """Return the manifest's bucket and key after checking that the state machine can read it."""
    bucket, key = place(address)
    if bucket != where.labels or not key.startswith("inventory/"):
        raise BadRequest(
            f"The manifest must be in s3://{where.labels}/inventory/, which the stack may read:"
            " have S3 deliver the inventory there."
        )
    if where.prefix:
        raise BadRequest(
            f"--inventory covers the whole bucket: give s3://{where.images} without a prefix."
        )
    manifest = _read(bucket, key)
    if manifest.bucket != where.images:
        raise BadRequest(f"{address} lists {manifest.bucket}, not {where.images}.")
    if manifest.format != "CSV" or "IsLatest" in manifest.columns:
        raise BadRequest(
            f"{address} must list current versions only, as CSV; docs/backlog.md has how to ask for"
            " such an inventory."
        )
    return {"bucket": bucket, "key": key}


def _read(bucket: str, key: str) -> _Manifest:
    s3 = client("s3")
    with answering():
        try:
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey as error:
            raise NotFound(
                f"There is no s3://{bucket}/{key}: S3 delivers the first inventory within 48 hours"
                " after it was configured."
            ) from error
    try:
        return _Manifest.model_validate_json(body)
    except ValidationError as error:
        raise BadRequest(
            f"s3://{bucket}/{key} is not an S3 Inventory manifest: name its manifest.json."
        ) from error
