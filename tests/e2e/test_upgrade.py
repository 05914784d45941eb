"""A stack of the previous release, upgraded in place by `sam deploy` of this code.

The fixture deploys the previous release (see `tests/release_before.py`) into the local cloud,
promotes a model, labels pictures and corrects two of them. Then it deploys this code over it, while
more pictures are uploaded.
"""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

from digits.registry import bundle
from infra.local import proof
from infra.local.cloud import ROOT, STACK, Deployment, LocalCloud, tool
from infra.local.pictures import Picture, pictures
from infra.local.processes import Processes
from tests import release_before
from tests.bundles import NEW, OLD, make_bundle
from tests.conftest import GOLDEN, require, truths
from tests.served import free_port, health

SHIPPED = bundle.load().manifest
CORRECTED = "photo.webp"
PAUSE_SECONDS = 0.25  # between two pictures of the stream
PATIENCE_SECONDS = 30.0


def files_in(archive: bytes) -> dict[str, bytes]:
    with release_before.opened(archive) as opened:
        members = [member for member in opened if member.isfile()]
        return {it.name: opened.extractfile(it).read() for it in members}  # type: ignore[union-attr]


def test_the_archived_release_matches_its_commit():
    version, commit = release_before.named()
    kept = release_before.packed()
    with release_before.opened(kept) as archive:
        assert archive.pax_headers["comment"] == commit
    made = release_before.from_history(commit)
    # In a shallow clone or a source archive the commit is missing; only the id is compared there.
    assert made is None or files_in(made) == files_in(kept)
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


class Stream:
    """Uploads pictures to the images bucket without pause, each under a key of its own."""

    def __init__(self, cloud: LocalCloud, bucket: str) -> None:
        self.pictures: list[Picture] = []
        self._s3, self._bucket = cloud.s3(), bucket
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._sending = self._pool.submit(self._run)

    def stop(self) -> None:
        """Stop uploading; raise the error if an upload failed."""
        self._over.set()
        self._pool.shutdown()
        self._sending.result()

    def _run(self) -> None:
        golden = [((GOLDEN / name).read_bytes(), truth) for name, truth in truths().items()]
        while not self._over.wait(PAUSE_SECONDS):
            data, truth = golden[len(self.pictures) % len(golden)]
            picture = Picture(f"stream/{len(self.pictures):04}", data, truth)
            self._s3.put_object(Bucket=self._bucket, Key=picture.key, Body=data)
            self.pictures.append(picture)


class Upgraded:
    """The upgraded stack, and its state before the upgrade."""

    def __init__(self, cloud: LocalCloud, folder: Path) -> None:
        self.cloud, self.folder = cloud, folder
        self.before_csv = folder / "before.csv"
        self.before: Deployment
        self.after: Deployment
        self.stream: Stream
        self.uploaded: str

    def digits(self, *arguments: str | Path, root: Path = ROOT) -> str:
        """Run the command line of the code in `root` and return its output."""
        done = subprocess.run(
            [sys.executable, "-m", "digits.cli", *map(str, arguments)],
            cwd=root, env=self.cloud.env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def labels(self, *arguments: str | Path, root: Path = ROOT) -> str:
        return self.digits("labels", *arguments, "--stack", STACK, root=root)

    def label(self, key: str) -> dict[str, Any]:
        """Wait for the label of a picture and return it."""
        wanted = Picture(key, b"", None)
        return proof.wait_for_labels(self.cloud.s3(), self.after, [wanted], lambda: None)[key]

    def call(self, method: str, path: str, sent: Mapping[str, Any] | None = None) -> Any:
        """Call the API with the key from before the upgrade and return its JSON."""
        now = getattr(self, "after", self.before)
        url, headers = now.api_url + path, {"x-api-key": self.before.api_key}
        answer = urllib3.request(method, url, json=sent, headers=headers, timeout=30)
        assert answer.status < 300, answer.data
        return answer.json()

    def log(self, logical_id: str) -> list[dict[str, Any]]:
        """Return the JSON lines of a function's log."""
        resource = self.cloud.client("cloudformation").describe_stack_resource(
            StackName=STACK, LogicalResourceId=logical_id
        )
        group = resource["StackResourceDetail"]["PhysicalResourceId"]
        pages = self.cloud.client("logs").get_paginator("filter_log_events")
        found = [
            it["message"] for page in pages.paginate(logGroupName=group) for it in page["events"]
        ]
        return [json.loads(line) for line in found if line.startswith("{")]


def built(cloud: LocalCloud, processes: Processes, out: Path, root: Path) -> Path:
    """Run `sam build`, apply two changes that only save time, and return the output folder.

    The functions refresh the model each second, not each minute. Their identical artifacts become
    one archive; `sam deploy` would compress each of them.
    """
    cloud.build(processes, out, root)
    shutil.make_archive(str(out / "functions"), "zip", out / "HttpApiFunction")
    template = (out / "template.yaml").read_text()
    for found, changed in (
        ("DIGITS_MODEL_REFRESH_SECONDS: '60'", "DIGITS_MODEL_REFRESH_SECONDS: '1'"),
        (r"CodeUri: \w+Function", "CodeUri: functions.zip"),
    ):
        template, times = re.subn(found, changed, template)
        assert times, found
    (out / "template.yaml").write_text(template)
    return out


def model_of(release: Path, folder: Path) -> Path:
    """Copy the release's model as version OLD, with the files that the archive contains."""
    shutil.copytree(release / "digits/model", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["version"] = OLD
    manifest["files"] = {
        name: file for name, file in manifest["files"].items() if (folder / name).exists()
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    for environment, program in ((".venvs/sam", "sam"), (".venvs/local-cloud", "ministack")):
        require(str(tool(environment, program)))
    folder = tmp_path_factory.mktemp("upgrade")
    (folder / "state").mkdir()
    release = release_before.unpack(folder / "release")
    it = Upgraded(LocalCloud(free_port()), folder)
    with Processes(folder / "logs") as processes, ThreadPoolExecutor() as pool:
        it.cloud.start(processes, folder / "state")
        old = built(it.cloud, processes, folder / "build-before", release)
        # Build in parallel, because deploying uses only one core.
        new = pool.submit(built, it.cloud, processes, folder / "build-after", ROOT)
        it.before = it.cloud.deploy(processes, old)
        _use(it, release)
        today = new.result()
        it.stream = Stream(it.cloud, it.before.images_bucket)
        try:
            it.after = it.cloud.deploy(processes, today)
            yield it
        finally:
            it.stream.stop()


def _use(it: Upgraded, release: Path) -> None:
    """Promote, label, correct and upload with the previous release's own code."""
    s3, before = it.cloud.s3(), it.before
    models = f"s3://{before.models_bucket}"
    it.digits("model", "promote", model_of(release, it.folder / "model"), models, root=release)
    proof.drop(s3, before, pictures())
    labels = proof.wait_for_labels(s3, before, pictures(), lambda: None)
    assert {label["model"]["version"] for label in labels.values()} == {OLD}
    it.labels("correct", f"s3://{before.images_bucket}/{CORRECTED}", "42", root=release)
    seven = (GOLDEN / "seven.png").read_bytes()
    image = base64.b64encode(seven).decode()
    it.call("POST", "/feedback", {"truth": "1", "answer": "7", "model": OLD, "image": image})
    offer = it.call("POST", "/uploads", {"name": "seven.png"})
    put = urllib3.request("PUT", offer["url"], body=seven, headers=offer["headers"])
    assert put.status == 200, put.data
    it.uploaded = offer["key"]
    uploaded = Picture(it.uploaded, seven, 7)
    proof.wait_for_labels(s3, before, [uploaded], lambda: None)
    labels_bucket = f"s3://{before.labels_bucket}"
    it.digits("labels", "collect", labels_bucket, "--out", it.before_csv, root=release)


def eventually(happens: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (happened := happens()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return happened


def rows(table: Path) -> dict[str, dict[str, str]]:
    with table.open(newline="") as stream:
        return {row["image"]: row for row in csv.DictReader(stream)}


def test_buckets_and_api_key_stay_the_same_after_an_upgrade(upgraded):
    """The API's address is not compared: the local cloud changes it with the API's definition.

    On AWS it stays, because the API's logical id stays (`tests/frozen_names.txt`).
    """
    assert replace(upgraded.after, api_url=upgraded.before.api_url) == upgraded.before


def test_labels_and_corrections_are_read_after_an_upgrade(upgraded):
    after_csv = upgraded.folder / "after.csv"
    upgraded.digits("labels", "collect", f"s3://{upgraded.after.labels_bucket}", "--out", after_csv)
    before, after = rows(upgraded.before_csv), rows(after_csv)
    assert set(before) == {*(picture.key for picture in pictures()), upgraded.uploaded}
    assert {key: after[key] for key in before} == before
    assert after[CORRECTED]["truth"] == "42"

    difference = json.loads(
        upgraded.digits("labels", "diff", upgraded.before_csv, after_csv, "--format", "json")
    )
    assert (difference["images"], difference["same"], difference["only_before"]) == (
        len(before),
        len(before),
        0,
    )

    assert upgraded.call("GET", f"/labels/{upgraded.uploaded}")["text"] == "7"


def test_feedback_sent_before_an_upgrade_is_collected_for_training(upgraded):
    folder = upgraded.folder / "feedback"
    upgraded.digits("feedback", "collect", f"s3://{upgraded.after.labels_bucket}", folder)
    with (folder / "labels.csv").open(newline="") as stream:
        (kept,) = csv.DictReader(stream)
    assert (kept["truth"], kept["model"]) == ("1", OLD)


def test_the_shipped_model_serves_after_an_upgrade_until_a_new_one_is_promoted(upgraded):
    """The promoted model is of bundle schema 1: the shipped one answers, and a metric counts it."""
    assert health(upgraded.after.api_url) == SHIPPED.version
    s3 = upgraded.cloud.s3()
    s3.upload_file(str(GOLDEN / "three.png"), upgraded.after.images_bucket, "after.png")
    assert upgraded.label("after.png")["model"]["version"] == SHIPPED.version
    for log in ("HttpApiLogs", "S3LabelsLogs"):
        lines = upgraded.log(log)
        assert [line for line in lines if "_aws" in line and "ModelRefreshFailed" in line], log
        (reason, *_) = [line["reason"] for line in lines if line.get("level") == "ERROR"]
        assert "schema" in reason

    candidate = make_bundle(upgraded.folder / "candidate", NEW)
    models = f"s3://{upgraded.after.models_bucket}"
    upgraded.digits("model", "promote", candidate, models)
    assert eventually(lambda: health(upgraded.after.api_url) == NEW)

    def labelled_by_the_new_model() -> bool:
        s3 = upgraded.cloud.s3()
        key = f"promoted-{time.monotonic_ns()}.png"
        s3.upload_file(str(GOLDEN / "three.png"), upgraded.after.images_bucket, key)
        return bool(upgraded.label(key)["model"]["version"] == NEW)

    assert eventually(labelled_by_the_new_model)


def test_images_uploaded_during_the_upgrade_are_all_labelled(upgraded):
    before = len(upgraded.stream.pictures)
    assert eventually(lambda: len(upgraded.stream.pictures) > before + 1)
    upgraded.stream.stop()
    sent = upgraded.stream.pictures
    labels = proof.wait_for_labels(upgraded.cloud.s3(), upgraded.after, sent, lambda: None)
    assert {key: label["text"] for key, label in labels.items()} == {
        picture.key: str(picture.truth) for picture in sent
    }
    assert {label["model"]["version"] for label in labels.values()} >= {OLD, SHIPPED.version}
    status = json.loads(
        upgraded.labels("status", f"s3://{upgraded.after.images_bucket}", "--format", "json")
    )
    assert status["waiting"] == status["in the queue"] == status["dead letters"] == 0
    assert status["corrected"] == 1
