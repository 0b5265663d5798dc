import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment import schema
from sentiment.inference.rejects import find_reject_reason


@pytest.mark.parametrize("value", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_every_kind_of_null_is_null_text(value):
    assert find_reject_reason(value) == schema.NULL_TEXT


@pytest.mark.parametrize("value", ["", " ", "\n\t ", "\u00a0\u2003\u3000"])
def test_white_space_alone_is_blank(value):
    assert find_reject_reason(value) == schema.BLANK_TEXT


@pytest.mark.parametrize("value", [0, 1.5, True, b"good", ["good"], {"text": "good"}, np.array(["good"])])
def test_what_is_no_string_is_not_text(value):
    assert find_reject_reason(value) == schema.NOT_TEXT


def test_a_lone_surrogate_is_undecodable():
    assert find_reject_reason("good \ud800") == schema.UNDECODABLE_TEXT


@given(st.text())
def test_a_valid_string_is_rejected_only_for_being_blank(text):
    reason = find_reject_reason(text)
    assert reason == (None if text.strip() else schema.BLANK_TEXT)


@pytest.mark.parametrize("text", ["good", "    ", "\ud800" * 4, "👍👍👍👍"])
def test_length_in_code_points_is_looked_at_first(text):
    assert find_reject_reason(text, max_text_chars=3) == schema.TOO_LONG_TEXT
    assert find_reject_reason(text, max_text_chars=4) != schema.TOO_LONG_TEXT


def test_every_reason_is_explained():
    of_texts = {find_reject_reason(value) for value in (None, "", 1, "\ud800", "x" * 1_000_001)}
    others = {schema.NULL_ID, schema.DUPLICATE_ID, schema.MODEL_FAILED, schema.UNKNOWN_TEXT}
    assert of_texts | others == set(schema.REJECT_REASONS)
