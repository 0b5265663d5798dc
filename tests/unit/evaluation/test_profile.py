"""A profile counts, adds up, and holds no text."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment.errors import UnreadableFileError
from sentiment.evaluation.histograms import BINS, SCORE_BINS, count_bins
from sentiment.evaluation.profile import (
    MAX_DIGESTS,
    Profile,
    describe_texts,
    load,
    load_profile,
    make_profile,
)
from tests.unit.monitoring.made import make_night, make_reference, make_rows


def test_figures_of_texts():
    figures = describe_texts(["Abc DE!", "ñandú", "привет ok", "", None, 7, "12 !?", "\ud800A"]).astype(float)
    assert figures["n_chars"].tolist()[:4] == [7, 5, 9, 0]
    assert figures["upper_share"].round(3).tolist()[:4] == [0.6, 0, 0, 0]
    assert figures["accent_share"].round(3).tolist()[:4] == [0, 0.4, 0, 0]
    assert figures["non_latin_share"].round(3).tolist()[:4] == [0, 0, 0.75, 0]
    assert figures.loc[[4, 5]].isna().all(axis=None)
    assert figures.loc[6].tolist() == [5, 0, 0, 0]
    assert figures.loc[7].tolist() == [2, 1, 0, 0]


@given(st.lists(st.text(max_size=20), max_size=8))
@settings(max_examples=100, deadline=None)
def test_figures_of_texts_together_are_those_of_each(texts):
    together = describe_texts(texts)
    for i, text in enumerate(texts):
        pd.testing.assert_frame_equal(together.iloc[[i]].reset_index(drop=True), describe_texts([text]))
        letters = [c for c in text if c.isalpha() and ord(c) < 0x10000]
        upper = [c for c in letters if c.isupper() and (c.isascii() or together["non_latin_share"][i] == 0)]
        if together["non_latin_share"][i] == 0 and letters:
            assert together["upper_share"][i] == pytest.approx(len(upper) / len(letters), abs=1e-6)


def test_parts_add_up_to_the_whole():
    rows = make_rows(n=3_000)
    rows.loc[::7, "reject_reason"] = "null_text"
    whole = make_profile(rows)
    parts = make_profile(rows[:10]).merge(make_profile(rows[10:2_000])).merge(make_profile(rows[2_000:]))
    # Sums of floats depend on their order.
    rounded = [
        [(key, round(s.total, 6), round(s.variance, 6), s.counts, s.right) for key, s in p.scores.items()]
        for p in (whole, parts)
    ]
    assert rounded[0] == rounded[1]
    names = ("scored_rows", "rejects", "labels", "stages", "flags", "figures", "digests")
    assert [getattr(whole, name) for name in names] == [getattr(parts, name) for name in names]
    assert whole.rows == 3_000
    assert whole.rejects == {"null_text": 429}


def test_a_reject_counts_as_nothing_else():
    rows = make_rows(n=10)
    rows.loc[0, ["reject_reason", "label", "score"]] = ["blank_text", None, float("nan")]
    profile = make_profile(rows)
    assert profile.scored_rows == sum(profile.labels.values()) == sum(profile.figures["n_chars"]) == 9


def test_a_profile_survives_json():
    for profile in (
        make_night(),
        make_reference(),
        Profile(),
        make_profile(make_rows(n=5)[["label", "score"]]),
    ):
        assert load(json.loads(json.dumps(profile.as_dict()))) == profile


@pytest.mark.parametrize(
    "change", [{"profile_version": 9}, {"figures": {"n_chars": [1]}}, {"figures": {"x": []}}, {"scores": 1}]
)
def test_another_version_or_damage_is_an_error(change, tmp_path):
    (tmp_path / "profile.json").write_text(json.dumps({**make_night(n=5).as_dict(), **change}))
    with pytest.raises(UnreadableFileError, match="expected a profile"):
        load_profile(tmp_path / "profile.json")


@pytest.mark.parametrize(("distinct", "copies"), [(900, 2), (20_000, 2), (5_000, 1)])
def test_repeated_texts_are_counted(distinct, copies):
    rows = make_rows(n=distinct)
    profile = make_profile(pd.concat([rows] * copies))
    assert len(profile.digests) <= MAX_DIGESTS
    assert set(profile.digests.values()) == {copies}


def test_the_repeated_texts_of_two_sets_are_those_of_both_together():
    rows = make_rows(n=4_000)
    first, second = rows[:2_500], rows[1_500:]
    both = make_profile(first).merge(make_profile(second))
    assert both.digests == make_profile(pd.concat([first, second])).digests


def test_no_text_is_in_a_profile():
    texts = ["a canary sings"] * 20
    rows = pd.concat([make_rows(n=20).drop(columns="n_chars"), describe_texts(texts)], axis=1)
    assert "canary" not in json.dumps(make_profile(rows.assign(text=texts)).as_dict())


def test_values_go_into_the_bin_that_begins_below_them():
    for bins in (*BINS.values(), SCORE_BINS):
        assert list(bins) == sorted(set(bins))
        assert count_bins(pd.Series([*bins, float("nan")]).to_numpy(), bins) == (1,) * len(bins)
    assert count_bins(pd.Series([-1.0, 1e9]).to_numpy(), (0.0, 1.0, 2.0)) == (1, 0, 1)


def test_making_a_profile_imports_nothing_heavy():
    code = (
        "import sys, sentiment.evaluation.profile; "
        "print({'torch', 'sklearn', 'scipy', 'pyspark', 'mlflow', 'openvino'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
