"""The registry never shows part of a bundle, loses no update, and survives interrupted writers."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from digits.errors import Conflict, ModelUnavailable
from digits.registry import bundle, object_store, registry
from digits.registry.object_store import FolderStore, NotInStore, StoreUnreachable
from digits.registry.registry import Pointer
from tests.bundles import (
    NEW,
    OLD,
    Killed,
    make_bundle,
    make_schema_1,
    put_in_service,
    tampered,
    version_in_service,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def models(home):
    return FolderStore(home)


class MortalFolder(FolderStore):
    """A store whose process is killed just before or just after its nth write."""

    def __init__(self, root, last, *, after):
        super().__init__(root)
        self.left, self.after = last, after

    def swap(self, key, data, *, expected):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        super().swap(key, data, expected=expected)
        if self.left == 0:
            raise Killed


def test_a_published_bundle_is_in_service_and_complete(models, home, old):
    pointer = registry.publish(old, models)
    assert pointer == registry.current(models)[0]
    assert pointer.previous is None
    assert version_in_service(models) == OLD
    names = {path.relative_to(old).as_posix() for path in old.rglob("*") if path.is_file()}
    assert set(models.keys("models/")) == {registry.POINTER} | {f"models/{OLD}/{n}" for n in names}


def test_the_pointer_has_the_published_form(models, home, old, new):
    registry.publish(old, models)
    registry.publish(new, models)
    written = json.loads((home / "models/current.json").read_text())
    assert written == {
        "version": NEW,
        "manifest_sha256": bundle.sha256((new / "manifest.json").read_bytes()),
        "promoted": written["promoted"],
        "previous": OLD,
    }
    assert written["promoted"].endswith("Z")


def test_an_upload_promotes_nothing(models, old, new):
    registry.publish(old, models)
    registry.upload(new, models)
    assert version_in_service(models) == OLD
    registry.promote(NEW, models, expected=registry.pointer_state(models))
    assert version_in_service(models) == NEW


def test_publishing_twice_changes_nothing(models, home, old):
    first = registry.publish(old, models)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*.*") if path.is_file()}
    assert registry.publish(old, models) == first
    after = {path: path.stat().st_mtime_ns for path in home.rglob("*.*") if path.is_file()}
    assert {path for path in before if before[path] != after[path]} <= {home / "models/.lock"}


@pytest.mark.parametrize("after", [False, True])
def test_an_interruption_at_any_write_keeps_the_old_model_and_can_be_repeated(
    home, models, old, new, after
):
    registry.publish(old, models)
    files = len(bundle.load(new).manifest.files)
    for last in range(1, files + 3):  # the files, the manifest, the pointer
        with pytest.raises(Killed):
            registry.publish(new, MortalFolder(home, last, after=after))
        written = last if after else last - 1
        assert version_in_service(models) == (NEW if written == files + 2 else OLD)
        problems = {item.version: item.problem for item in registry.versions(models)}
        half = None if written == 0 or written > files else "incomplete: no manifest.json"
        assert problems.get(NEW) == half
        assert registry.publish(new, models).version == NEW
        assert version_in_service(models) == NEW
        assert bundle.verify(registry.in_store(models, NEW)).version == NEW
        registry.roll_back(models)
        shutil.rmtree(home / f"models/{NEW}")


def test_a_manifest_is_the_last_file_of_an_upload(home, new):
    written = []

    class Recording(FolderStore):
        def swap(self, key, data, *, expected):
            written.append(key)
            super().swap(key, data, expected=expected)

    registry.publish(new, Recording(home))
    assert written[-2:] == [f"models/{NEW}/manifest.json", registry.POINTER]
    assert len(written) == len(set(written)) == len(bundle.load(new).manifest.files) + 2


def run_python(script, *args, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip


def test_a_sigkill_while_writing_a_file_does_no_harm_and_its_draft_is_removed(
    home, models, old, new
):
    registry.publish(old, models)
    script = """
        import os, signal, sys
        from pathlib import Path
        from digits.registry import object_store, registry
        calls = []
        def die(descriptor):
            calls.append(descriptor)
            if len(calls) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        os.fsync = die
        registry.publish(Path(sys.argv[1]), object_store.FolderStore(Path(sys.argv[2])))
    """
    assert run_python(script, new, home).returncode == -signal.SIGKILL
    assert (home / "models/.draft").exists()
    assert version_in_service(models) == OLD
    assert not any("draft" in key for key in models.keys("models/"))
    registry.publish(new, models)
    assert version_in_service(models) == NEW
    assert not (home / "models/.draft").exists()


def test_leftovers_of_another_bundle_without_a_manifest_are_replaced(models, home, old):
    left = home / f"models/{OLD}/report.json"
    left.parent.mkdir(parents=True)
    left.write_text("half a rep")
    registry.publish(old, models)
    assert bundle.verify(registry.in_store(models, OLD)).version == OLD


def test_publishing_again_replaces_a_damaged_file(models, home, old):
    registry.publish(old, models)
    tampered(home / f"models/{OLD}/mnist_cnn.tflite")
    with pytest.raises(ModelUnavailable):
        version_in_service(models)
    registry.publish(old, models)
    assert version_in_service(models) == OLD


@pytest.mark.parametrize("name", ["mnist_cnn.tflite", "report.json"])
def test_a_broken_bundle_is_not_published(models, old, name):
    tampered(old / name)
    with pytest.raises(ModelUnavailable, match=name):
        registry.publish(old, models)
    assert models.keys("models/") == []


@pytest.mark.parametrize("damage", ["tampered", "missing"])
def test_a_version_that_is_incomplete_in_the_store_is_not_promoted(models, home, old, new, damage):
    registry.publish(old, models)
    registry.upload(new, models)
    path = home / f"models/{NEW}/images/errors.png"
    tampered(path) if damage == "tampered" else path.unlink()
    with pytest.raises(ModelUnavailable, match=r"images/errors\.png"):
        registry.promote(NEW, models, expected=registry.pointer_state(models))
    assert version_in_service(models) == OLD


def test_a_version_under_anothers_name_is_neither_promoted_nor_fetched(models, home, old):
    registry.publish(old, models)
    shutil.copytree(home / f"models/{OLD}", home / f"models/{NEW}")
    with pytest.raises(ModelUnavailable, match=f"is of version {OLD}"):
        registry.promote(NEW, models, expected=registry.pointer_state(models))
    pointer = registry.current(models)[0].model_copy(update={"version": NEW})
    with pytest.raises(ModelUnavailable, match=f"is of version {OLD}"):
        registry.fetch(models, pointer)


def test_a_pointer_to_another_manifest_is_not_fetched(models, old):
    pointer = registry.publish(old, models).model_copy(update={"manifest_sha256": "0" * 64})
    with pytest.raises(ModelUnavailable, match="digest in the pointer"):
        registry.fetch(models, pointer)


@pytest.mark.parametrize("version", ["../../elsewhere", "", "latest", OLD + "/.."])
def test_an_invalid_version_does_not_reach_a_file(models, old, version):
    registry.publish(old, models)
    with pytest.raises(NotInStore, match="is not a version"):
        registry.promote(version, models, expected=registry.pointer_state(models))


@pytest.mark.parametrize("name", ["../escaped", "/etc/passwd", "images/../../x", ".hidden", "a//b"])
def test_a_manifest_cannot_name_a_file_outside_its_bundle(models, old, name):
    path = old / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelUnavailable, match="not a valid manifest"):
        registry.publish(old, models)


def test_rolling_back_goes_to_the_previous_version_and_twice_is_a_round_trip(models, old, new):
    registry.publish(old, models)
    registry.publish(new, models)
    assert registry.roll_back(models).version == OLD
    assert version_in_service(models) == OLD
    assert registry.roll_back(models).version == NEW
    assert version_in_service(models) == NEW


def test_rolling_back_can_name_any_complete_version(models, tmp_path, old, new):
    third = make_bundle(tmp_path / "third", "20261103T000000Z-0206d068")
    for folder in (old, new, third):
        registry.publish(folder, models)
    assert registry.roll_back(models, OLD).previous == "20261103T000000Z-0206d068"
    assert version_in_service(models) == OLD


def test_promoting_the_model_in_service_again_keeps_the_previous_version(models, home, old, new):
    """Its pointer named another manifest; now it names the right one, and still the old model."""
    registry.publish(old, models)
    pointer = registry.publish(new, models).model_copy(update={"manifest_sha256": "0" * 64})
    (home / "models/current.json").write_text(pointer.model_dump_json())
    assert registry.publish(new, models).previous == OLD
    assert version_in_service(models) == NEW


def test_there_is_no_rolling_back_from_the_first_model_or_to_a_broken_one(models, home, old, new):
    with pytest.raises(NotInStore, match="before this one"):
        registry.roll_back(models)
    registry.publish(old, models)
    with pytest.raises(NotInStore, match="before this one"):
        registry.roll_back(models)
    registry.publish(new, models)
    tampered(home / f"models/{OLD}/mnist_cnn.tflite")
    with pytest.raises(ModelUnavailable, match="digest"):
        registry.roll_back(models)
    assert version_in_service(models) == NEW


def rewritten(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


UNSERVABLE = {
    "schema 1": (lambda folder: None, "bundle schema 1, which version 0.1.0"),
    "a newer schema": (
        lambda folder: rewritten(folder / "manifest.json", schema=3),
        "bundle schema 3.*upgrade",
    ),
    "another preprocessing": (
        lambda folder: rewritten(
            folder / "manifest.json", input={"preprocessing": "1"}, git_commit="abc"
        ),
        "preprocessing 1.*git commit abc",
    ),
    "a missing network": (lambda folder: (folder / "segmenter.tflite").unlink(), "segmenter"),
    "a tampered configuration": (lambda folder: tampered(folder / "config.json"), "config.json"),
    "a configuration without a value": (
        lambda folder: (
            (folder / "config.json").write_text("{}"),
            rewritten(
                folder / "manifest.json",
                files=json.loads((folder / "manifest.json").read_text())["files"]
                | {"config.json": bundle.describe_file(folder / "config.json").model_dump()},
            ),
        ),
        "config.json is not a valid configuration",
    ),
    "a missing picture": (lambda folder: (folder / "images/errors.png").unlink(), "errors.png"),
}


@pytest.mark.parametrize("harm", UNSERVABLE)
@pytest.mark.parametrize("named", [False, True])
def test_a_roll_back_to_what_cannot_be_served_is_refused_and_the_pointer_is_not_written(
    models, home, tmp_path, new, harm, named
):
    damage, why = UNSERVABLE[harm]
    make = make_schema_1 if harm == "schema 1" else lambda it: make_bundle(it, OLD)
    before = put_in_service(make(tmp_path / "before"), models)
    registry.publish(new, models)
    damage(home / "models" / before.version)
    pointer = home / "models/current.json"
    raw, written = pointer.read_bytes(), pointer.stat().st_mtime_ns
    with pytest.raises(ModelUnavailable, match=why):
        registry.roll_back(models, before.version if named else None)
    assert (pointer.read_bytes(), pointer.stat().st_mtime_ns) == (raw, written)


def test_a_schema_2_bundle_takes_over_from_the_schema_1_bundle_it_was_derived_from(
    models, tmp_path
):
    """As in a stack that was made with version 0.1.0, whose shipped model was published."""
    before = put_in_service(make_schema_1(tmp_path / "old"), models)
    pointer = registry.publish(bundle.SHIPPED, models)
    shipped = bundle.load().manifest
    assert shipped.derived_from == before.version
    assert (pointer.version, pointer.previous) == (shipped.version, before.version)


def test_a_bundle_of_schema_1_is_not_uploaded(models, tmp_path):
    with pytest.raises(ModelUnavailable, match="bundle schema 1"):
        registry.upload(make_schema_1(tmp_path / "old"), models)
    assert models.keys("models/") == []


def test_an_invalid_pointer_raises_for_readers_and_is_replaced_by_promotion(models, home, old):
    registry.publish(old, models)
    (home / "models/current.json").write_text('{"version": "latest"}')
    with pytest.raises(ModelUnavailable, match="not a valid pointer"):
        registry.current(models)
    registry.promote(OLD, models, expected=registry.pointer_state(models))
    assert version_in_service(models) == OLD


def _promote_at_once(home, version, barrier, outcomes):
    models = FolderStore(home)
    seen = registry.pointer_state(models)
    barrier.wait(30)
    try:
        registry.promote(version, models, expected=seen)
        outcomes.put((version, "won"))
    except Conflict:
        outcomes.put((version, "told"))


def test_of_several_processes_that_promote_at_once_exactly_one_wins(models, home, tmp_path, old):
    registry.publish(old, models)
    rivals = [f"2026110{day}T000000Z-0206d068" for day in range(2, 5)]
    for version in rivals:
        registry.upload(make_bundle(tmp_path / version, version), models)
    fresh = multiprocessing.get_context("spawn")
    barrier, outcomes = fresh.Barrier(len(rivals)), fresh.Queue()
    workers = [
        fresh.Process(target=_promote_at_once, args=(home, version, barrier, outcomes))
        for version in rivals
    ]
    for worker in workers:
        worker.start()
    results = dict(outcomes.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(30)
    assert sorted(results.values()) == ["told"] * (len(rivals) - 1) + ["won"]
    assert results[version_in_service(models)] == "won"
    assert registry.current(models)[0].previous == OLD


def test_many_threads_that_swap_lose_no_update(models):
    """A counter that everybody increments: each success is in the end result."""
    models.swap("models/counter", b"0", expected=None)
    workers, rounds = 8, 15
    barrier = Barrier(workers)

    def increment(_):
        barrier.wait()
        done = 0
        while done < rounds:
            seen = models.read("models/counter")
            try:
                models.swap("models/counter", b"%d" % (int(seen.data) + 1), expected=seen.etag)
                done += 1
            except Conflict:
                continue

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(increment, range(workers)))
    assert models.read("models/counter").data == b"%d" % (workers * rounds)


def test_a_reader_never_sees_a_part_of_a_file(models):
    small, large = b"a" * 10, b"b" * 3_000_000
    models.swap("models/file", small, expected=None)

    def write(_):
        for data in (large, small) * 20:
            models.swap("models/file", data, expected=models.read("models/file").etag)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, None)
        while not writing.done():
            assert models.read("models/file").data in (small, large)
        writing.result()


def test_an_unchanged_file_is_not_read_again(models):
    models.swap("models/file", b"1", expected=None)
    seen = models.read("models/file")
    assert models.read("models/file", unless=seen.etag) is None
    models.swap("models/file", b"2", expected=seen.etag)
    assert models.read("models/file", unless=seen.etag).data == b"2"


def test_a_full_disk_is_a_one_line_error_and_leaves_nothing(home, models, old, new):
    """No file above 100 kB can be written: a real limit of the system, met half-way."""
    registry.publish(old, models)
    script = """
        import sys
        from pathlib import Path
        from digits.registry import object_store, registry
        try:
            registry.publish(Path(sys.argv[1]), object_store.FolderStore(Path(sys.argv[2])))
        except object_store.StoreUnreachable as error:
            print(error)
    """
    limit = 100_000
    done = run_python(
        script, new, home,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "File too large; check the folder, its permissions and its disk" in done.stdout
    assert version_in_service(models) == OLD
    assert not (home / "models/.draft").exists()
    registry.publish(new, models)
    assert version_in_service(models) == NEW


def test_no_space_for_the_pointer_keeps_the_old_one(models, home, old, new, monkeypatch):
    registry.publish(old, models)
    registry.upload(new, models)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnreachable, match="No space left on device"):
        registry.promote(NEW, models, expected=registry.pointer_state(models))
    monkeypatch.undo()
    assert version_in_service(models) == OLD
    assert not (home / "models/.draft").exists()


def test_a_folder_that_cannot_be_used_raises(tmp_path, old):
    (tmp_path / "file").write_text("no folder")
    models = FolderStore(tmp_path / "file")
    for use in (lambda: registry.publish(old, models), lambda: registry.pointer_state(models)):
        with pytest.raises(StoreUnreachable, match="Not a directory"):
            use()


def test_a_version_of_schema_1_is_listed_with_its_manifest_and_why_it_is_not_served(
    models, tmp_path
):
    put_in_service(make_schema_1(tmp_path / "old"), models)
    (listed,) = registry.versions(models)
    assert listed.manifest.metrics.test_accuracy == 0.9971
    assert "bundle schema 1, which version 0.1.0" in listed.problem


def test_versions_are_listed_with_their_problems(models, home, tmp_path, old, new):
    assert registry.versions(models) == []
    registry.publish(new, models)
    registry.publish(old, models)
    (home / f"models/{NEW}/images/errors.png").unlink()
    (home / "models/20261109T000000Z-0206d068").mkdir()
    (home / "models/20261109T000000Z-0206d068/history.csv").write_text("epoch\n")
    (home / "models/notes").mkdir()
    (home / "models/notes/manifest.json").write_text("{}")
    listed = {item.version: item.problem for item in registry.versions(models)}
    assert list(listed) == [OLD, NEW, "20261109T000000Z-0206d068", "notes"]
    assert listed[OLD] is None
    assert listed[NEW] == "incomplete: no images/errors.png"
    assert listed["20261109T000000Z-0206d068"] == "incomplete: no manifest.json"
    assert "is not a version" in listed["notes"]


@pytest.mark.parametrize("address", ["s3://", "https://example.org/models", "S3://bucket"])
def test_an_invalid_address_of_a_store_raises(address):
    with pytest.raises(StoreUnreachable, match="is not the address of a store"):
        object_store.open_store(address)


def test_the_reason_for_overriding_the_gate_is_stored_in_the_pointer(models, home, old):
    registry.upload(old, models)
    registry.promote(
        OLD, models, expected=registry.pointer_state(models), forced="the test set was wrong"
    )
    assert Pointer.model_validate_json(
        (home / "models/current.json").read_text()
    ).forced == "the test set was wrong"  # fmt: skip
