"""Having a backlog labelled by the stack's state machine, and watching it."""

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
    """How far a backfill is; `total` is None while the listing is still read."""

    done: int
    total: int | None


class Backfill:
    """One execution of the state machine that labels a backlog."""

    def __init__(self, machine: SFNClient, arn: str) -> None:
        self._machine = machine
        self.arn = arn

    @classmethod
    def start(cls, where: Places, *, relabel: bool, inventory: str | None) -> tuple[Backfill, bool]:
        """Start labelling, or find the one that is at the same work already; whether it is that.

        One that relabels goes on where the last one stopped if that did not come to its end: what
        was labelled again since the *first* start is not labelled a third time.

        Raises
        ------
        BadRequest, NotFound
            If the state machine cannot read the inventory.
        Conflict
            If it is at other work just now.
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
                raise Conflict(f"Another backfill runs: {run.arn}; wait for its end, or stop it.")
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
        """How far it is, every other second, until it ends.

        Raises
        ------
        Conflict
            If it ends otherwise than well.
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
                    f" ({found.get('cause') or found.get('error') or 'no cause given'}); mend that"
                    " and start the same again: it goes on where it stopped."
                )
            time.sleep(_POLL_SECONDS)

    def _progress(self) -> Progress:
        """By the map's own count; nothing where the cloud keeps none."""
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
    """An execution, now or before, and what it was told."""

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
    """What an inventory's manifest says of it.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
    """

    bucket: Annotated[str, Field(alias="sourceBucket")]
    format: Annotated[str, Field(alias="fileFormat")]
    columns: Annotated[str, Field(alias="fileSchema")]


def _manifest(where: Places, address: str) -> dict[str, str]:
    """The manifest's place, once it is sure that the state machine can go through its inventory."""
    bucket, key = place(address)
    if bucket != where.labels or not key.startswith("inventory/"):
        raise BadRequest(
            f"The manifest must be in s3://{where.labels}/inventory/, where the stack may read it;"
            " have the inventory delivered there."
        )
    if where.prefix:
        raise BadRequest(f"An inventory is gone through whole; give s3://{where.images} with it.")
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
                f"There is no s3://{bucket}/{key}; the first inventory comes up to 48 hours after"
                " it was asked for."
            ) from error
    try:
        return _Manifest.model_validate_json(body)
    except ValidationError as error:
        raise BadRequest(
            f"s3://{bucket}/{key} is no manifest of an S3 Inventory; name its manifest.json."
        ) from error
