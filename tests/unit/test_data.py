"""MNIST is loaded only if it is identical to the original; errors are one line."""

from __future__ import annotations

import hashlib
import io
import zipfile

import boto3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from training_job import data
from training_job.data import load
from training_job.errors import TrainingError


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(data.BUNDLED, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def mnist() -> data.Mnist:
    return load()


def refusal(source) -> str:
    with pytest.raises(TrainingError) as caught:
        load(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_copy_in_the_repository_is_split_in_training_held_out_and_test(mnist):
    assert (len(mnist.train), len(mnist.held_out), len(mnist.test)) == (55_000, 5_000, 10_000)
    for split in (mnist.train, mnist.held_out, mnist.test):
        assert split.x.shape == (len(split), 28, 28, 1)
        assert split.x.dtype == np.float32
        assert (split.x.min(), split.x.max()) == (0, 1)


def test_images_that_are_held_out_or_tested_on_are_never_trained_on(mnist):
    digests = [
        {hashlib.sha256(image.tobytes()).digest() for image in split.x[::10]}
        for split in (mnist.held_out, mnist.test)
    ]
    trained = {hashlib.sha256(image.tobytes()).digest() for image in mnist.train.x}
    assert not trained & (digests[0] | digests[1])


@pytest.mark.parametrize("name", list(data.DIGESTS))
def test_one_changed_byte_is_refused(arrays, tmp_path, name):
    wrong = arrays[name].copy()
    wrong.flat[-1] ^= 1
    # Not compressed: quicker, and just as good for NumPy.
    np.savez(tmp_path / "mnist.npz", **(arrays | {name: wrong}))
    message = refusal(tmp_path / "mnist.npz")
    assert message.startswith(f"{name} in {tmp_path}/mnist.npz is not MNIST's")
    assert "training_job/data" in message


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda x: x.reshape(-1, 784), id="shape"),
        pytest.param(lambda x: x.view(np.int8), id="type"),
        pytest.param(lambda x: x.reshape(10_000, -1).view("datetime64[s]"), id="dates"),
    ],
)
def test_the_same_bytes_in_another_dtype_or_shape_are_refused(arrays, tmp_path, changed):
    np.savez(tmp_path / "mnist.npz", **(arrays | {"x_test": changed(arrays["x_test"])}))
    assert "x_test" in refusal(tmp_path / "mnist.npz")


def test_a_missing_array_is_named(arrays, tmp_path):
    np.savez(tmp_path / "mnist.npz", **{k: v for k, v in arrays.items() if k != "y_train"})
    assert refusal(tmp_path / "mnist.npz").startswith("y_train in")


class Harm:
    """Runs code if it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_it_is_never_unpickled(tmp_path):
    harm = np.empty(1, object)
    harm[0] = Harm()
    np.savez(tmp_path / "mnist.npz", x_train=harm)
    assert "not an .npz file of arrays" in refusal(tmp_path / "mnist.npz")


def test_a_file_that_is_not_there_says_which_option_to_check(tmp_path):
    message = refusal(tmp_path / "none.npz")
    assert message == f"Cannot read {tmp_path}/none.npz (No such file or directory); check --data."


def test_a_folder_is_no_file(tmp_path):
    assert "Is a directory" in refusal(tmp_path)


def test_a_single_array_is_no_npz_file(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert "not an .npz file of arrays" in refusal(tmp_path / "x.npy")


def test_a_zip_file_of_something_else_is_not_mnist(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("x_train.npy", "no array")
    assert "x.zip" in refusal(tmp_path / "x.zip")


def small_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.arange(50, dtype=np.uint8) for name in data.DIGESTS})
    return buffer.getvalue()


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, len(small_npz()) - 1), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_whatever_the_damage(tmp_path_factory, at, flip, cut):
    damaged = bytearray(small_npz())
    damaged[at] ^= flip
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(damaged[:at] if cut else damaged)
    refusal(path)


@pytest.fixture
def bucket():
    data._s3.cache_clear()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="sets")
        yield boto3.client("s3")
    data._s3.cache_clear()


def test_it_is_read_from_s3_too(bucket, mnist):
    bucket.put_object(Bucket="sets", Key="a/mnist.npz", Body=data.BUNDLED.read_bytes())
    np.testing.assert_array_equal(load("s3://sets/a/mnist.npz").test.y, mnist.test.y)


@pytest.mark.parametrize(
    "source", ["s3://sets/none.npz", "s3://none/mnist.npz", "s3://sets", "s3://"]
)
def test_what_s3_does_not_give_is_one_line(bucket, source):
    message = refusal(source)
    assert message.startswith(f"Cannot read {source} (")
    assert message.endswith("check --data and your credentials.")


def test_keras_without_the_internet_is_one_line(monkeypatch):
    import keras

    def fails():
        raise Exception("URL fetch failure\non two lines")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fails)
    assert "omit --data" in refusal("keras")


def test_keras_own_copy_is_checked_like_any_other(monkeypatch, arrays):
    import keras

    given = ((arrays["x_train"], arrays["y_train"]), (arrays["x_test"] ^ 1, arrays["y_test"]))
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: given)
    assert refusal("keras").startswith("x_test in keras is not MNIST's")
