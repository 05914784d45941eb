"""The object store in S3: conditional writes (moto), a failing server, and no server."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from digits.errors import Conflict, ModelUnavailable
from digits.registry import bundle, object_store, registry
from digits.registry.object_store import NotInStore, S3Store, StoreUnreachable
from tests.bundles import (
    NEW,
    OLD,
    Killed,
    make_schema_1,
    put_in_service,
    tampered,
    version_in_service,
)
from tests.integration.conftest import MODELS


@pytest.fixture
def models(s3):
    return object_store.open_store(f"s3://{MODELS}")


class Mortal(S3Store):
    """A store whose process is killed just after its nth write."""

    def __init__(self, last):
        super().__init__(MODELS)
        self.left = last

    def swap(self, key, data, *, expected):
        super().swap(key, data, expected=expected)
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("address", [f"s3://{MODELS}", f"s3://{MODELS}/", f"s3://{MODELS}/a/b c/"])
def test_a_bundle_is_published_and_read_back_below_any_prefix(s3, old, address):
    models = object_store.open_store(address)
    registry.publish(old, models)
    assert version_in_service(models) == OLD
    prefix = address.removeprefix(f"s3://{MODELS}").strip("/")
    start = f"{prefix}/models/" if prefix else "models/"
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=MODELS)["Contents"]]
    assert all(key.startswith(start) for key in keys)
    assert len(keys) == len(bundle.load(old).manifest.files) + 2
    assert [item.version for item in registry.versions(models)] == [OLD]


@pytest.mark.parametrize("damage", ["schema 1", "missing", "tampered"])
def test_a_roll_back_to_a_model_that_cannot_be_served_keeps_the_pointer(
    s3, models, tmp_path, old, new, damage
):
    folder = make_schema_1(tmp_path / "schema 1") if damage == "schema 1" else old
    before = put_in_service(folder, models)
    registry.publish(new, models)
    key = f"models/{before.version}/segmenter.tflite"
    if damage == "missing":
        s3.delete_object(Bucket=MODELS, Key=key)
    if damage == "tampered":
        s3.put_object(Bucket=MODELS, Key=key, Body=b"something else")
    pointer = s3.get_object(Bucket=MODELS, Key=registry.POINTER)
    why = "version 0.1.0" if damage == "schema 1" else "segmenter.tflite"
    with pytest.raises(ModelUnavailable, match=why):
        registry.roll_back(models)
    after = s3.get_object(Bucket=MODELS, Key=registry.POINTER)
    assert after["Body"].read() == pointer["Body"].read()
    assert after["LastModified"] == pointer["LastModified"]


def test_promote_and_roll_back_move_the_pointer(models, old, new):
    registry.publish(old, models)
    registry.upload(new, models)
    assert version_in_service(models) == OLD
    registry.promote(NEW, models, expected=registry.pointer_state(models))
    assert (version_in_service(models), registry.current(models)[0].previous) == (NEW, OLD)
    registry.roll_back(models)
    assert version_in_service(models) == OLD


def test_a_kill_at_any_write_leaves_the_old_model_and_the_next_run_finishes(models, s3, old, new):
    registry.publish(old, models)
    files = len(bundle.load(new).manifest.files)
    for last in range(1, files + 2):
        with pytest.raises(Killed):
            registry.publish(new, Mortal(last))
        assert version_in_service(models) == OLD
        assert registry.publish(new, models).version == NEW
        assert bundle.verify(registry.in_store(models, NEW)).version == NEW
        registry.roll_back(models)
        for key in models.keys(f"models/{NEW}/"):
            s3.delete_object(Bucket=MODELS, Key=key)


def test_publishing_again_repairs_a_damaged_file(models, s3, old):
    registry.publish(old, models)
    s3.put_object(Bucket=MODELS, Key=f"models/{OLD}/mnist_cnn.tflite", Body=b"something else")
    with pytest.raises(ModelUnavailable, match="digest"):
        version_in_service(models)
    registry.publish(old, models)
    assert version_in_service(models) == OLD


def test_an_incomplete_bundle_is_not_promoted(models, s3, old, new):
    registry.publish(old, models)
    registry.upload(new, models)
    s3.delete_object(Bucket=MODELS, Key=f"models/{NEW}/images/errors.png")
    with pytest.raises(NotInStore, match=r"images/errors\.png"):
        registry.promote(NEW, models, expected=registry.pointer_state(models))
    assert version_in_service(models) == OLD
    tampered(old / "report.json")
    with pytest.raises(ModelUnavailable, match=r"report\.json"):
        registry.publish(old, models)


def test_a_pointer_that_was_deleted_meanwhile_is_a_conflict(models, s3, old, new):
    registry.publish(old, models)
    registry.upload(new, models)
    seen = registry.pointer_state(models)
    s3.delete_object(Bucket=MODELS, Key=registry.POINTER)
    with pytest.raises(Conflict):
        registry.promote(NEW, models, expected=seen)


def test_a_concurrent_promotion_is_never_overwritten(models, old, new, monkeypatch):
    """The rival writes between this process's last read and its write."""
    registry.publish(old, models)
    registry.upload(new, models)
    rival = object_store.open_store(f"s3://{MODELS}")
    real = models._s3.put_object

    def after_the_rival(**request):
        monkeypatch.undo()
        rival.swap(registry.POINTER, b"the rival's", expected=rival.read(registry.POINTER).etag)
        return real(**request)

    monkeypatch.setattr(models._s3, "put_object", after_the_rival)
    with pytest.raises(Conflict, match="changed by another writer"):
        registry.promote(NEW, models, expected=registry.pointer_state(models))
    assert models.read(registry.POINTER).data == b"the rival's"


def test_a_retried_write_whose_answer_was_lost_succeeds(models, old, new, monkeypatch):
    registry.publish(old, models)
    registry.upload(new, models)
    real = models._s3.put_object

    def twice(**request):
        real(**request)
        return real(**request)

    monkeypatch.setattr(models._s3, "put_object", twice)
    assert registry.promote(NEW, models, expected=registry.pointer_state(models)).version == NEW
    assert version_in_service(models) == NEW


def test_reading_an_unchanged_pointer_returns_none(models, old, new):
    registry.publish(old, models)
    _, etag = registry.current(models)
    assert registry.current(models, unless=etag) is None
    registry.publish(new, models)
    assert registry.current(models, unless=etag)[0].version == NEW


def test_versions_are_listed_with_their_problems(models, s3, old, new):
    registry.publish(old, models)
    registry.upload(new, models)
    s3.delete_object(Bucket=MODELS, Key=f"models/{NEW}/images/errors.png")
    s3.put_object(Bucket=MODELS, Key="models/20261109T000000Z-0206d068/history.csv", Body=b"x")
    assert [(item.version, item.problem) for item in registry.versions(models)] == [
        (OLD, None),
        (NEW, "incomplete: no images/errors.png"),
        ("20261109T000000Z-0206d068", "incomplete: no manifest.json"),
    ]


def test_keys_beyond_one_page_are_listed(models, s3):
    for number in range(1001):
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(MODELS, f"models/{number:04}", b"")
    assert len(models.keys("models/")) == 1001


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("SlowDown", 503), ("NoSuchBucket", 404)]
)
def test_an_error_of_s3_is_one_line_that_says_what_to_check(models, old, monkeypatch, code, status):
    def refuse(**_):
        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "Any")

    for operation in ("get_object", "put_object"):
        monkeypatch.setattr(models._s3, operation, refuse)
    for use in (
        lambda: registry.publish(old, models),
        lambda: models.swap("models/x", b"", expected=None),
        lambda: registry.pointer_state(models),
    ):
        with pytest.raises(
            StoreUnreachable, match=rf"s3://{MODELS} \({code}\).*credentials"
        ) as hit:
            use()
        assert "\n" not in str(hit.value)


def test_a_missing_bucket_is_unreachable_not_empty(s3):
    models = object_store.open_store("s3://no-such-bucket")
    for use in (lambda: registry.pointer_state(models), lambda: models.keys("models/")):
        with pytest.raises(StoreUnreachable, match="NoSuchBucket"):
            use()


def client_of(port):
    config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", config=config)


def test_a_server_that_does_not_listen_is_unreachable(old):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        models = S3Store("bucket", client=client_of(free.getsockname()[1]))
        for use in (lambda: registry.publish(old, models), lambda: models.keys("models/")):
            with pytest.raises(StoreUnreachable, match="EndpointConnectionError"):
                use()


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """Remove the credentials for clients that are created from now on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.mark.usefixtures("nobody")
def test_a_store_without_credentials_is_unreachable():
    with pytest.raises(StoreUnreachable, match="NoCredentialsError"):
        registry.pointer_state(object_store.open_store("s3://bucket"))


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("AWS_ENDPOINT_URL", "nowhere", "Invalid endpoint: nowhere"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/", "Unsupported host"),
    ],
)
def test_invalid_aws_settings_are_named_in_the_error(monkeypatch, setting, value, message):
    monkeypatch.setenv(setting, value)
    with pytest.raises(StoreUnreachable, match=f"Cannot use s3://bucket: .*{message}"):
        object_store.open_store("s3://bucket")


class FlakyS3(BaseHTTPRequestHandler):
    """Stores objects as S3 does, and breaks the connection in the middle of the nth transfer."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.is_broken():
            return
        if self.headers.get("If-None-Match") == "*" and self.path in self.objects:
            self.answer(412, b"")
            return
        self.objects[self.path] = data
        self.answer(200, b"")

    def do_GET(self):
        if self.path not in self.objects:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        data = self.objects[self.path]
        if self.is_broken():
            self.answer(200, data[: len(data) // 2], length=len(data))
            return
        self.answer(200, data)

    def is_broken(self):
        if self.server.breaks_at is None:
            return False
        self.server.breaks_at -= 1
        self.close_connection = True
        return self.server.breaks_at <= 0

    @property
    def objects(self):
        return self.server.objects

    def answer(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("ETag", f'"{bundle.sha256(body)}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def flaky():
    server = ThreadingHTTPServer(("127.0.0.1", 0), FlakyS3)
    server.objects, server.breaks_at = {}, None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_connection_lost_while_publishing_is_an_error_and_the_next_run_finishes(flaky, old):
    models = S3Store("bucket", client=client_of(flaky.server_port))
    for last in (1, 4, 12):
        flaky.breaks_at = last
        with pytest.raises(StoreUnreachable, match=r"Cannot use s3://bucket \(\w+\)") as hit:
            registry.publish(old, models)
        assert "\n" not in str(hit.value)
        assert "/bucket/models/current.json" not in flaky.objects
    flaky.breaks_at = None
    registry.publish(old, models)
    assert version_in_service(models) == OLD


def test_a_connection_lost_while_reading_a_model_is_unreachable_not_tampered(flaky, old):
    models = S3Store("bucket", client=client_of(flaky.server_port))
    registry.publish(old, models)
    flaky.breaks_at = 3  # the pointer, the manifest, the model
    with pytest.raises(StoreUnreachable, match=r"\(\w+\)"):
        version_in_service(models)
