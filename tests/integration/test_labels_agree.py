"""Eventual consistency: after any history of images and events, labels match the bucket."""

import json

import pytest
from botocore.exceptions import ClientError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from moto.s3.models import s3_backends

from digits.labels.label import label_key
from tests.bundles import Killed
from tests.conftest import GOLDEN
from tests.integration.conftest import IMAGES, LABELS, fresh
from tests.integration.queues import ACCOUNT
from tests.integration.test_s3_labels import batch, failures, s3_event

# Powertools keeps one set of metrics per process; here two functions share it.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

PICTURES = {
    "7": (GOLDEN / "seven.png").read_bytes(),
    "1": (GOLDEN / "one.jpg").read_bytes(),
    None: b"not an image",
}
# S3 takes any UTF-8; moto's listings are XML, which holds no control characters.
KEYS = st.one_of(
    st.sampled_from(
        ["a", "a.json", "a b+c%2B.png", "a//b", "a/../b", ".long/x", "labels/a.json", "é" * 512]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=256),
)
PLACES = st.integers(0, 99)
CHANGES = st.sampled_from([*PICTURES, "delete", "revive", "remove", "archive", "restore"])
MOMENTS = st.sampled_from(["HeadObject", "GetObject", "PutObject"])


class World(RuleBasedStateMachine):
    """A bucket, the events of its changes in random order, and two concurrent functions.

    `events` are waiting for their delivery; those in `lost` are never delivered.
    """

    def __init__(self, s3, functions, sweep, queues, context):
        super().__init__()
        self.s3, self.sweep, self.queues, self.context = s3, sweep, queues, context
        self.one, self.other = functions
        self.events, self.lost = [], []
        for bucket in (IMAGES, LABELS):
            for item in self.versions(bucket):
                s3.delete_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])

    def versions(self, bucket, **below):
        listing = self.s3.list_object_versions(Bucket=bucket, **below)
        return listing.get("Versions", []) + listing.get("DeleteMarkers", [])

    @initialize(keys=st.lists(KEYS, min_size=1, max_size=2, unique=True))
    def choose(self, keys):
        self.keys = keys

    @rule(place=PLACES, change=CHANGES)
    def change(self, place, change):
        """Put, overwrite, delete, remove a marker or the current version, archive, or restore."""
        key = self.keys[place % len(self.keys)]
        if change in ("archive", "restore"):
            if image := s3_backends[ACCOUNT]["aws"].get_object(IMAGES, key):
                image.set_storage_class("GLACIER" if change == "archive" else "STANDARD")
            if change == "archive":
                return  # S3 sends no event for it
        elif change == "delete":
            self.s3.delete_object(Bucket=IMAGES, Key=key)
        elif change in ("revive", "remove"):
            marker = "DeleteMarkers" if change == "revive" else "Versions"
            listing = self.s3.list_object_versions(Bucket=IMAGES, Prefix=key).get(marker, ())
            for item in listing:
                if item["Key"] == key and item["IsLatest"]:
                    gone = {"Key": key, "VersionId": item["VersionId"]}
                    self.s3.delete_object(Bucket=IMAGES, **gone)
        else:
            self.s3.put_object(Bucket=IMAGES, Key=key, Body=PICTURES[change])
        self.events.append(key)

    @rule(place=PLACES)
    def duplicate(self, place):
        if self.events:
            self.events.append(self.events[place % len(self.events)])

    @rule(place=PLACES)
    def lose(self, place):
        if self.events:
            self.lost.append(self.events.pop(place % len(self.events)))

    @rule(place=PLACES)
    def deliver(self, place):
        self.handled(self.other, place)

    @rule(place=PLACES, moment=MOMENTS, change=CHANGES, then=PLACES)
    def deliver_while_it_changes(self, place, moment, change, then):
        """Pause one function before a call; change an image and let the other function label it."""

        def meanwhile():
            self.change(place, change)
            self.handled(self.other, then)

        self.interrupted(place, moment, meanwhile)

    @rule(place=PLACES, moment=MOMENTS)
    def kill(self, place, moment):
        """Kill the function before a call, so that the message is delivered again."""

        def die():
            raise Killed

        self.interrupted(place, moment, die)

    def interrupted(self, place, moment, meanwhile):
        paused = []

        def pause(**_):
            if not paused:
                paused.append(moment)
                meanwhile()

        events = self.one.labeller()._s3.meta.events
        events.register(f"before-call.s3.{moment}", pause)
        try:
            self.handled(self.one, place)
        finally:
            events.unregister(f"before-call.s3.{moment}", pause)

    def handled(self, function, place):
        if not self.events:
            return
        key = self.events.pop(place % len(self.events))
        try:
            assert failures(function.handler(batch(s3_event(key)), self.context)) == []
        except Killed:
            self.events.append(key)

    def teardown(self):
        """Deliver all events, sweep for lost ones, and check every label."""
        listed = {item["Key"] for item in self.versions(IMAGES)}
        # The sweep cannot find images that were removed with all their versions.
        self.events += [key for key in self.lost if key not in listed]
        self.handler_of(self.events)
        assert self.sweep.handler({}, self.context)["finished"]
        self.queues.deliver(self.context)
        assert self.queues.dead() == []
        for key in getattr(self, "keys", ()):
            self.assert_agrees(key)
        written = {item["Key"] for item in self.versions(LABELS)} - {self.sweep.POSITION}
        assert written <= {label_key(key) for key in getattr(self, "keys", ())}

        assert self.sweep.handler({}, self.context)["sent"] == 0, "a second sweep finds nothing"

    def handler_of(self, keys):
        if keys:
            events = [s3_event(key) for key in keys]
            assert failures(self.one.handler(batch(*events), self.context)) == []

    def assert_agrees(self, key):
        label = self.read(LABELS, label_key(key))
        image = self.read_image(key)
        if image is None:
            assert label is None or json.loads(label["Body"].read())["deleted"] is True
            return
        found = json.loads(label["Body"].read())
        if found.get("error", {}).get("code") == "archived":
            assert s3_backends[ACCOUNT]["aws"].get_object(IMAGES, key).storage_class == "GLACIER"
        else:
            assert PICTURES[found["text"]] == image["Body"].read()
        assert found["source"] == {
            "bucket": IMAGES,
            "key": key,
            "version_id": image["VersionId"],
            "etag": image["ETag"].strip('"'),
            "size": image["ContentLength"],
        }

    def read_image(self, key):
        """Read the image, also if it is archived."""
        image = s3_backends[ACCOUNT]["aws"].get_object(IMAGES, key)
        if image is None:
            return None
        kept = image.storage_class
        image.set_storage_class("STANDARD")
        try:
            return self.read(IMAGES, key)
        finally:
            image.set_storage_class(kept)

    def read(self, bucket, key):
        try:
            return self.s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"
            return None


@pytest.fixture
def functions(environment):
    """Import two instances of the labels function, as Lambda runs them concurrently."""
    return fresh("s3_labels"), fresh("s3_labels")


def test_after_any_history_each_label_matches_the_current_version(
    s3, functions, sweep, queues, context
):
    run_state_machine_as_test(
        lambda: World(s3, functions, sweep, queues, context),
        settings=settings(max_examples=10, stateful_step_count=15, deadline=None),
    )


def test_an_image_restored_while_its_tombstone_is_written_gets_a_label(
    s3, functions, sweep, queues, context
):
    """The other function finds the correct label, and must write it nevertheless."""
    world = World(s3, functions, sweep, queues, context)
    world.choose(["a"])
    world.change(0, "7")
    world.deliver(0)
    world.change(0, "delete")
    world.deliver_while_it_changes(0, "PutObject", "revive", 0)
    world.assert_agrees("a")
