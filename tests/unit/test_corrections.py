"""Corrections accept exactly the characters that a result can contain."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digits.labels import corrections
from digits.labels.label import Correction, Source
from lambda_predict.feedback import FeedbackRequest

MARKS = "0123456789?.,-+/:()=×÷%"
LINES = st.text(st.sampled_from(MARKS), min_size=1, max_size=40)
PAGES = st.lists(LINES, max_size=8).map("\n".join)
TEXTS = st.lists(PAGES, min_size=1, max_size=4).map("\f".join)
SOURCE = Source(bucket="b", key="k", etag="e", size=1)


@given(TEXTS)
def test_every_text_that_a_result_can_have_is_a_valid_correction(text):
    assert corrections.valid(text) == text
    assert Correction(source=SOURCE, truth=text).truth == text
    sent = FeedbackRequest(truth=text, answer=text, model="v", image="AAAA")
    assert (sent.truth, sent.answer) == (text, text)
    assert re.match(corrections.PATTERN, text)


@given(st.characters(exclude_characters=f"{MARKS}\n\f"), TEXTS, TEXTS)
def test_any_other_character_is_refused(other, before, after):
    text = before + other + after
    with pytest.raises(ValueError, match="is not a valid correction"):
        corrections.valid(text)
    with pytest.raises(ValueError, match="is not a valid correction"):
        Correction(source=SOURCE, truth=text)
    with pytest.raises(ValueError, match="is not a valid correction"):
        FeedbackRequest(truth=text, model="v", image="AAAA")
    assert not re.match(corrections.PATTERN, text)


def test_the_longest_correction_has_4096_characters():
    assert corrections.valid("1" * 4096) == "1" * 4096
    with pytest.raises(ValueError, match=r"at most 4,096 characters, but this one has 4,097\."):
        corrections.valid("1" * 4097)


def test_a_long_correction_that_is_not_valid_is_quoted_in_part():
    with pytest.raises(ValueError, match="is not a valid correction") as refused:
        corrections.valid("7" * 3000 + "x")
    assert len(str(refused.value)) < 200


def test_blank_lines_are_dropped_and_blank_pages_are_kept():
    assert corrections.valid("\n1\n\n2\n\f\n\f3\n") == "1\n2\f\f3"


@pytest.mark.parametrize("text", ["", "12", "?", "-", "7\f", "٣"])
def test_is_digit_accepts_only_a_single_ascii_digit(text):
    assert corrections.is_digit("7")
    assert not corrections.is_digit(text)
