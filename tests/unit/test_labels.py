"""A label's key is a pure function of its image's key, and no two images share one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digits.labels.label import Source, Written, label_key

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda key: len(key.encode()) <= 1024
)


def test_a_label_lies_below_the_labels_prefix_and_keeps_the_name():
    assert label_key("a folder/ä+b.png") == "labels/a folder/ä+b.png.json"


@pytest.mark.parametrize("key", ["x" * 1024, "é" * 510, "x" * 1013])
def test_a_key_too_long_for_s3_is_replaced_by_its_digest(key):
    assert label_key(key).startswith("labels/.long/")
    assert len(label_key(key).encode()) < 1024


def test_the_longest_key_that_fits_is_kept():
    assert label_key("x" * 1012) == f"labels/{'x' * 1012}.json"


@given(keys)
def test_every_legal_key_gives_a_legal_label_key(key):
    assert len(label_key(key).encode()) <= 1024


@given(keys, keys)
def test_two_images_never_share_a_label(one, other):
    assert (label_key(one) == label_key(other)) == (one == other)


def test_a_key_cannot_be_made_to_share_the_label_of_a_long_one():
    long = "x" * 1024
    impostor = label_key(long).removeprefix("labels/").removesuffix(".json")
    assert label_key(impostor) != label_key(long)


@pytest.mark.parametrize(
    "odd",
    ['"digits": null', '"digits": [{"sign": "-"}]', '"error": {"message": "?"}', '"model": {}'],
)
def test_a_part_of_a_label_that_is_not_as_expected_leaves_the_rest_readable(odd):
    label = Written.read(b'{"source": {"bucket": "b", "key": "k"}, "text": "7", %s}' % odd.encode())
    assert label.source == Source(bucket="b", key="k")
    assert label.text == "7"
