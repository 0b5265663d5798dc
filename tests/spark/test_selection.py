from collections import defaultdict

import numpy as np
import pytest
from pyspark.sql import Row

from sentiment.config import LATEST, REJECT
from sentiment.schema import DUPLICATE_ID
from sentiment.tables.columns import IS_OUTSIDE, KEY, KNOWN_DIGEST, ORDER, POSITION
from sentiment.tables.selection import select_rows
from sentiment.tables.store.manifests import KNOWN, SUPERSEDED, WAITING


def make_rows(seed, has_order):
    """Make rows whose ids repeat, with null ids, null texts, dates outside the window and equal orders."""
    draw = np.random.default_rng(seed)
    rows = []
    for position in draw.permutation(200):
        row = {
            "a": None if draw.random() < 0.1 else f"a{draw.integers(8)}",
            "b": None if draw.random() < 0.05 else int(draw.integers(4)),
            "text": None if draw.random() < 0.1 else f"text {draw.integers(3)}",
            POSITION: int(position),
            IS_OUTSIDE: bool(draw.random() < 0.2),
        }
        if has_order:
            row[ORDER] = None if draw.random() < 0.2 else int(draw.integers(3))
        rows.append(row)
    return rows


def decide(rows, known, on_duplicate):
    """Decide each row as the rule says, in plain Python; count ids with several texts."""
    decisions, n_conflicts = {}, 0
    groups = defaultdict(list)
    for row in rows:
        if row[IS_OUTSIDE]:
            decisions[row[POSITION]] = WAITING
        elif row["a"] is not None and row["b"] is not None:
            groups[row["a"], row["b"]].append(row)
    for key, group in groups.items():

        def rank(row):
            order = row.get(ORDER)
            return (order is not None, order or 0, row[POSITION])

        latest = max(group, key=rank)
        has_texts = len({row["text"] for row in group}) > 1
        n_conflicts += has_texts
        for row in group:
            if has_texts and on_duplicate == REJECT:
                decisions[row[POSITION]] = DUPLICATE_ID
            elif row is not latest:
                decisions[row[POSITION]] = SUPERSEDED
            elif key in known and known[key] == row["text"]:
                decisions[row[POSITION]] = KNOWN
    return decisions, n_conflicts


@pytest.mark.parametrize("on_duplicate", [LATEST, REJECT])
@pytest.mark.parametrize("has_order", [False, True])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.reliability)])
def test_the_rows_that_are_scored_are_those_of_the_rule(spark, seed, has_order, on_duplicate):
    rows = make_rows(seed, has_order)
    order = f", {ORDER} int" if has_order else ""
    reviews = spark.createDataFrame(
        [Row(**row) for row in rows],
        f"a string, b int, text string, {POSITION} long, {IS_OUTSIDE} boolean{order}",
    )
    known = {(f"a{a}", b): f"text {(a + b) % 3}" for a in range(8) for b in range(4)}
    stored = spark.createDataFrame(
        [([a, str(b)], text) for (a, b), text in known.items()], f"{KEY} array<string>, t string"
    )
    stored = stored.selectExpr(KEY, f"xxhash64(t) as {KNOWN_DIGEST}")
    found = select_rows(reviews, ["a", "b"], stored, on_duplicate, 3)
    decisions, n_conflicts = decide(rows, known, on_duplicate)
    skipped = {at: reason for at, reason in decisions.items() if reason != DUPLICATE_ID}
    assert found.skipped.tolist() == sorted(skipped)
    assert found.duplicates.tolist() == sorted(set(decisions) - set(skipped))
    counts = {reason: list(skipped.values()).count(reason) for reason in set(skipped.values())}
    assert found.skipped_by_reason == counts
    assert found.conflicting_ids == n_conflicts > 0
    if on_duplicate == LATEST:
        assert counts.keys() == {KNOWN, SUPERSEDED, WAITING}


def test_all_rows_of_plain_reviews_are_scored(spark):
    reviews = spark.createDataFrame(
        [(n, "x", n, False) for n in range(5)], f"a int, text string, {POSITION} long, {IS_OUTSIDE} boolean"
    )
    found = select_rows(reviews, ["a"], None, LATEST, 2)
    assert (len(found.skipped), len(found.duplicates), found.skipped_by_reason, found.conflicting_ids) == (
        0,
        0,
        {},
        0,
    )
