"""Which model the real handlers serve: the promoted one, and never a broken one."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from botocore.exceptions import EndpointConnectionError

from digits.errors import ModelUnavailable
from digits.registry import bundle, gate, object_store, registry
from tests.bundles import NEW, OLD, make_bundle, make_schema_1, put_in_service
from tests.integration.conftest import IMAGES, LABELS, MODELS, fresh
from tests.integration.test_http_api import request
from tests.integration.test_s3_labels import batch, failures, s3_event

REFRESH = 60.0


@pytest.fixture
def models(s3):
    return object_store.open_store(f"s3://{MODELS}")


@pytest.fixture
def new(tmp_path):
    """Make a model with another temperature, whose confidences differ from the old one's."""
    return make_bundle(tmp_path / "new", NEW, temperature=3.0)


class Api:
    """The HTTP function after a cold start, with a clock that the test sets."""

    def __init__(self, context, environment, seven):
        self.module = fresh("http_api")
        self.context, self.seven = context, seven
        self.now = 1000.0
        serving = self.module.serving
        self.module.models = serving.ModelInService(
            object_store.open_store(f"s3://{MODELS}"), REFRESH, clock=lambda: self.now
        )

    def post(self):
        response = self.module.handler(request(body=self.seven), self.context)
        return response["statusCode"], json.loads(response["body"])

    def version(self):
        """Classify a picture and return the version of the model that answered."""
        status, body = self.post()
        assert (status, body["text"]) == (200, "7")
        health = self.module.handler(request("GET", "/health"), self.context)
        assert json.loads(health["body"])["model"] == body["model"]["version"]
        return body["model"]["version"]

    def confidence(self):
        return self.post()[1]["digits"][0]["confidence"]


@pytest.fixture
def api(context, environment, seven):
    return Api(context, environment, seven)


@pytest.fixture
def refusals(capsys):
    """Return a function that counts the refresh failures in the metrics since its last call."""

    def count():
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line]
        return sum(sum(line.get("ModelRefreshFailed", [])) for line in lines if "_aws" in line)

    return count


@pytest.fixture
def calls(api, monkeypatch):
    """Record the API's requests to S3: key, condition and status."""
    seen = []
    client = api.module.models._models._s3
    real = client.get_object

    def recorded(**asked):
        try:
            answer = real(**asked)
        except Exception as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            seen.append((asked["Key"], asked.get("IfNoneMatch"), status))
            raise
        seen.append((asked["Key"], None, 200))
        return answer

    monkeypatch.setattr(client, "get_object", recorded)
    return seen


def test_without_a_promotion_the_shipped_model_answers(api, refusals):
    assert api.version() == bundle.load().manifest.version
    assert refusals() == 0


def test_without_an_object_store_the_shipped_model_answers(environment, context, seven):
    environment.delenv("DIGITS_MODELS")
    response = fresh("http_api").handler(request(body=seven), context)
    assert json.loads(response["body"])["model"]["version"] == bundle.load().manifest.version


def test_the_promoted_model_answers_the_first_request(api, models, old):
    registry.publish(old, models)
    assert api.version() == OLD


def test_the_promoted_model_labels_the_first_image(s3, s3_labels, context, models, old, seven):
    registry.publish(old, models)
    s3.put_object(Bucket=IMAGES, Key="a", Body=seven)
    assert failures(s3_labels.handler(batch(s3_event("a")), context)) == []
    label = json.loads(s3.get_object(Bucket=LABELS, Key="labels/a.json")["Body"].read())
    assert label["model"]["version"] == OLD


def test_a_promotion_takes_effect_after_the_refresh_time_and_not_before(api, models, old, new):
    registry.publish(old, models)
    before = api.confidence()
    registry.publish(new, models)
    api.now += REFRESH - 0.001
    assert (api.version(), api.confidence()) == (OLD, before)
    api.now += 0.001
    assert api.version() == NEW
    assert api.confidence() < before


def test_a_roll_back_takes_effect_after_the_refresh_time(api, models, old, new):
    registry.publish(old, models)
    registry.publish(new, models)
    assert api.version() == NEW
    registry.roll_back(models)
    api.now += REFRESH
    assert api.version() == OLD


def test_a_model_that_is_uploaded_but_not_promoted_is_not_served(api, models, old, new):
    registry.publish(old, models)
    registry.upload(new, models)
    api.now += REFRESH
    assert api.version() == OLD


def test_only_the_pointer_is_fetched_if_the_shipped_model_is_promoted(api, models, calls):
    registry.publish(bundle.SHIPPED, models)
    calls.clear()
    assert api.version() == bundle.load().manifest.version
    assert [key for key, _, _ in calls] == [registry.POINTER]


def test_an_unchanged_pointer_takes_one_conditional_request_per_refresh(api, models, old, calls):
    registry.publish(old, models)
    api.version()
    assert [key for key, _, _ in calls] == [
        "models/current.json",
        *(
            f"models/{OLD}/{name}"
            for name in ("manifest.json", "mnist_cnn.tflite", "segmenter.tflite", "config.json")
        ),
    ]  # fmt: skip
    calls.clear()
    for _ in range(3):
        api.version()
    assert calls == []
    api.now += REFRESH
    for _ in range(3):
        api.version()
    etag = models.read(registry.POINTER).etag
    assert calls == [("models/current.json", etag, 304)]


def put(s3, key, data):
    s3.put_object(Bucket=MODELS, Key=key, Body=data)


def manifest_with(s3, **changes):
    """Change the new bundle's manifest, and let the pointer have its digest."""
    key = f"models/{NEW}/manifest.json"
    manifest = json.loads(s3.get_object(Bucket=MODELS, Key=key)["Body"].read()) | changes
    raw = json.dumps(manifest).encode()
    put(s3, key, raw)
    point(s3, bundle.sha256(raw))


def point(s3, manifest_sha256, version=NEW):
    pointer = {"version": version, "manifest_sha256": manifest_sha256, "promoted": "now"}
    put(s3, registry.POINTER, json.dumps(pointer).encode())


NO_MODEL = b"this is not a LiteRT model"

BREAKS = {
    "the segmentation network is tampered with": lambda s3, new: put(
        s3, f"models/{NEW}/segmenter.tflite", NO_MODEL
    ),
    "the configuration is missing": lambda s3, new: s3.delete_object(
        Bucket=MODELS, Key=f"models/{NEW}/config.json"
    ),
    "the model is tampered with": lambda s3, new: put(
        s3, f"models/{NEW}/mnist_cnn.tflite", NO_MODEL
    ),
    "the model is missing": lambda s3, new: s3.delete_object(
        Bucket=MODELS, Key=f"models/{NEW}/mnist_cnn.tflite"
    ),
    "the manifest is missing": lambda s3, new: s3.delete_object(
        Bucket=MODELS, Key=f"models/{NEW}/manifest.json"
    ),
    "the manifest is replaced": lambda s3, new: put(s3, f"models/{NEW}/manifest.json", b"{}"),
    "the manifest is of a newer schema": lambda s3, new: manifest_with(s3, schema=3),
    "the model wants another preprocessing": lambda s3, new: manifest_with(
        s3, input={"preprocessing": "99"}
    ),
    "the manifest is of another version": lambda s3, new: manifest_with(s3, version=OLD),
    "LiteRT cannot load the model": lambda s3, new: (
        put(s3, f"models/{NEW}/mnist_cnn.tflite", NO_MODEL),
        manifest_with(
            s3, files={"mnist_cnn.tflite": {"sha256": bundle.sha256(NO_MODEL), "bytes": 1}}
        ),
    ),
    "the pointer is not JSON": lambda s3, new: put(s3, registry.POINTER, b"\xff"),
    "the pointer is JSON of another kind": lambda s3, new: put(s3, registry.POINTER, b"[]"),
    "the pointer names an invalid version": lambda s3, new: point(s3, "0" * 64, "../../elsewhere"),
    "the pointer names a missing bundle": lambda s3, new: point(
        s3, "0" * 64, "20261109T000000Z-0206d068"
    ),
}


@pytest.mark.parametrize("harm", BREAKS)
def test_a_broken_model_is_refused_counted_and_recovered_from(
    api, models, s3, old, new, refusals, harm
):
    registry.publish(old, models)
    assert api.version() == OLD
    registry.publish(new, models)
    BREAKS[harm](s3, new)
    api.now += REFRESH
    assert refusals() == 0
    assert api.version() == OLD
    assert refusals() == 1
    assert api.version() == OLD
    assert refusals() == 0, "it is not tried again before the refresh time"
    api.now += REFRESH
    assert api.version() == OLD
    assert refusals() == 1, "it is counted at every refresh while it is broken"

    for key in models.keys("models/"):
        s3.delete_object(Bucket=MODELS, Key=key)
    registry.publish(new, models)
    api.now += REFRESH
    assert api.version() == NEW
    assert refusals() == 0


def test_a_model_broken_at_the_first_request_leaves_the_shipped_one_in_service(
    api, models, s3, new, refusals
):
    registry.publish(new, models)
    put(s3, f"models/{NEW}/mnist_cnn.tflite", NO_MODEL)
    assert api.version() == bundle.load().manifest.version
    assert refusals() == 1
    registry.publish(new, models)  # the same version, repaired: the pointer does not change
    api.now += REFRESH
    assert api.version() == NEW


def test_after_a_deployment_over_schema_1_the_shipped_model_answers_until_another_is_promoted(
    api, models, new, tmp_path, refusals, caplog
):
    """The order of `docs/operations.md`: deploy, then promote."""
    before = put_in_service(make_schema_1(tmp_path / "schema 1"), models)
    assert api.version() == bundle.load().manifest.version
    assert refusals() == 1, "the alarm watches this metric"
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert f"Model {before.version} has bundle schema 1, which version 0.1.0" in line.reason
    api.now += REFRESH
    assert api.version() == bundle.load().manifest.version
    assert refusals() == 1, "counted at every refresh until a promotion"

    promotion = gate.promote(registry.upload(new, models).version, models)
    assert "test accuracy, compared" in [item.name for item in promotion.criteria if item.passed]
    assert promotion.pointer.previous == before.version
    api.now += REFRESH
    assert api.version() == NEW
    assert refusals() == 0

    pointer = models.read(registry.POINTER)
    with pytest.raises(ModelUnavailable, match="bundle schema 1"):
        registry.roll_back(models)
    assert models.read(registry.POINTER) == pointer
    api.now += REFRESH
    assert api.version() == NEW
    assert refusals() == 0


def test_the_shipped_model_can_be_promoted_over_one_of_version_0_1_0(
    api, models, tmp_path, refusals
):
    put_in_service(make_schema_1(tmp_path / "schema 1"), models)
    assert api.version() == bundle.load().manifest.version
    assert refusals() == 1
    gate.promote(registry.upload(bundle.SHIPPED, models).version, models)
    api.now += REFRESH
    assert api.version() == bundle.load().manifest.version
    assert refusals() == 0


def test_a_refused_model_is_logged_with_the_reason(api, models, s3, old, new, caplog):
    registry.publish(old, models)
    api.version()
    registry.publish(new, models)
    put(s3, f"models/{NEW}/mnist_cnn.tflite", NO_MODEL)
    api.now += REFRESH
    api.version()
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert OLD in line.getMessage()
    assert f"mnist_cnn.tflite of model {NEW}" in line.reason


def unreachable(**_):
    raise EndpointConnectionError(endpoint_url="https://s3.example.org")


def test_a_store_unreachable_at_the_first_request_is_503_until_it_is_back(
    api, models, old, monkeypatch
):
    registry.publish(old, models)
    monkeypatch.setattr(api.module.models._models._s3, "get_object", unreachable)
    status, problem = api.post()
    assert (status, problem["code"]) == (503, "model_unavailable")
    assert api.post()[0] == 503
    monkeypatch.undo()
    assert api.version() == OLD, "the next request tries again at once"


def test_a_store_that_becomes_unreachable_leaves_the_model_in_service(
    api, models, old, new, monkeypatch, refusals
):
    registry.publish(old, models)
    assert api.version() == OLD
    registry.publish(new, models)
    monkeypatch.setattr(api.module.models._models._s3, "get_object", unreachable)
    api.now += REFRESH
    assert api.version() == OLD
    assert refusals() == 1
    monkeypatch.undo()
    assert api.version() == OLD
    api.now += REFRESH
    assert api.version() == NEW


def test_a_store_lost_between_pointer_and_model_leaves_the_model_in_service(
    api, models, old, new, monkeypatch
):
    registry.publish(old, models)
    assert api.version() == OLD
    registry.publish(new, models)
    client = api.module.models._models._s3
    real = client.get_object

    def breaks_off(**asked):
        return unreachable() if asked["Key"].endswith(".tflite") else real(**asked)

    monkeypatch.setattr(client, "get_object", breaks_off)
    api.now += REFRESH
    assert api.version() == OLD
    monkeypatch.undo()
    api.now += REFRESH
    assert api.version() == NEW


@pytest.fixture
def restore(environment, monkeypatch):
    """Return a function that starts the HTTP function for a snapshot."""
    hooks = []
    environment.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setattr("snapshot_restore_py.register_after_restore", hooks.append)
    environment.setenv("DIGITS_MODEL_REFRESH_SECONDS", "1e9")

    def started():
        module = fresh("http_api")
        (hook,) = hooks
        return SimpleNamespace(module=module, restore=hook)

    return started


def answering(module, context, seven):
    response = module.handler(request(body=seven), context)
    return json.loads(response["body"])["model"]["version"]


def test_a_restored_snapshot_serves_the_model_promoted_meanwhile(
    restore, models, old, new, context, seven
):
    registry.publish(old, models)
    snapshot = restore()
    registry.publish(new, models)
    assert answering(snapshot.module, context, seven) == OLD
    snapshot.restore()
    assert answering(snapshot.module, context, seven) == NEW


def test_a_restore_fetches_the_pointer_but_not_the_model(
    restore, models, old, context, seven, monkeypatch
):
    registry.publish(old, models)
    snapshot = restore()
    asked = []
    client = snapshot.module.models._models._s3
    real = client.get_object
    monkeypatch.setattr(client, "get_object", lambda **kw: asked.append(kw["Key"]) or real(**kw))
    snapshot.restore()
    assert answering(snapshot.module, context, seven) == OLD
    assert asked == ["models/current.json"]


def test_a_snapshot_made_without_the_store_loads_the_model_once_it_is_back(
    restore, models, old, context, seven, monkeypatch, s3
):
    registry.publish(old, models)
    real = object_store.S3Store.read
    monkeypatch.setattr(object_store.S3Store, "read", lambda *_, **__: unreachable_store())
    snapshot = restore()
    monkeypatch.setattr(object_store.S3Store, "read", real)
    assert answering(snapshot.module, context, seven) == OLD


class _Storage(BaseHTTPRequestHandler):
    """An empty S3 that keeps connections open, as S3 does."""

    protocol_version = "HTTP/1.1"
    opened = closed = 0

    def setup(self):
        super().setup()
        type(self).opened += 1

    def do_GET(self):
        body = b"<Error><Code>NoSuchKey</Code><Message>No.</Message></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def finish(self):
        super().finish()
        type(self).closed += 1

    def log_message(self, *_):
        """Do not log."""


def test_a_snapshot_holds_no_open_connection(monkeypatch):
    class Storage(_Storage):
        """A subclass, because the counts are class attributes."""

    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setattr("snapshot_restore_py.register_after_restore", lambda _: None)
    monkeypatch.setenv("DIGITS_MODELS", "s3://models")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    server.block_on_close = False  # or an open connection would block the test
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    try:
        module = fresh("http_api")
        deadline = time.monotonic() + 5
        while Storage.closed < Storage.opened and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (Storage.opened, Storage.closed) == (1, 1)
        module.models.look_again()
        assert module.models.classifier(), "after a restore it connects again"
        assert Storage.opened == 2
    finally:
        server.shutdown()
        server.server_close()


def unreachable_store():
    raise object_store.StoreUnreachable("Cannot use s3://test-models.")
