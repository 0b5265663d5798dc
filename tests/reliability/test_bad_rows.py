"""Rows of every odd kind, named ones and generated ones: each is one score or one reject."""

import functools
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment import schema
from sentiment.models import loading
from sentiment.models.predictions import predict_each
from tests.factories import TinyModel

from .tables import Ended, read_rejects

Ask = Callable[[bytes | None], str]

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("B2", "odd texts and ids, and 1,000 generated rows"),
]

SCORED = "scored"
_MAX_CHARS = 1_000_000  # the default of max_text_chars
_GENERATED_ROWS = 1_000
_GENERATED_MAX_CHARS = 300
_SEED = 20261124
_NO_UTF8 = "\udcff"  # the byte 0xff, as `surrogateescape` has it


@dataclass(frozen=True)
class Row:
    """An id, which may be null or have bytes that are no UTF-8 (as surrogates), and the bytes of a text."""

    id: str | None
    text: bytes | None

    @property
    def has_id(self) -> bool:
        return self.id is not None and _NO_UTF8 not in self.id


@dataclass(frozen=True)
class Found:
    """The outcomes of the rows of a run by id, and the end of the run."""

    outcomes: dict[str, list[str]]
    null_ids: int
    ended: Ended


_TEXTS: dict[str, tuple[bytes | None, str]] = {
    "null": (None, schema.NULL_TEXT),
    "empty": (b"", schema.BLANK_TEXT),
    "blank": (b" \t\r\n", schema.BLANK_TEXT),
    "Unicode's blanks": ("\u00a0\u2003\u3000\u2028".encode(), schema.BLANK_TEXT),
    "zero-width characters alone": ("\u200b\u200d\ufeff".encode(), schema.BLANK_TEXT),
    "NUL alone": (b"\0\0", schema.BLANK_TEXT),
    "NUL in a text": (b"good\0phone", SCORED),
    "1 MB": (b"good phone " * (_MAX_CHARS // 11), SCORED),
    "one word of 100,000 letters": (b"g" * 100_000, SCORED),
    "as long as is allowed": ("é".encode() * _MAX_CHARS, SCORED),
    "a character too long": (b"g" * (_MAX_CHARS + 1), schema.TOO_LONG_TEXT),
    "no UTF-8": (b"good \xff\xfe phone", schema.UNDECODABLE_TEXT),
    "cut within a character": ("good é".encode()[:-1], schema.UNDECODABLE_TEXT),
    "a lone surrogate": ("good \ud800".encode("utf-8", "surrogatepass"), schema.UNDECODABLE_TEXT),
    "an overlong code": (b"good \xc0\xaf", schema.UNDECODABLE_TEXT),
    "the replacement character": ("good \ufffd phone".encode(), SCORED),
    "emoji": ("👍🏽 👨‍👩‍👧 good".encode(), SCORED),
    "right to left": ("\u202eطيب جدا‏ good".encode(), SCORED),
    "zero-width characters in words": ("go\u200bod ph\u200done".encode(), SCORED),
    "combining accents": (("go" + "\u0301" * 500 + "od").encode(), SCORED),
    "HTML": (b"<script>alert('good')</script><p>phone&nbsp;&amp;</p>", SCORED),
    "control characters": (b"\x1b[31mgood\x07\x08\x7f", SCORED),
    "special tokens": (b"[CLS] good [SEP] [PAD] [MASK]", SCORED),
    "a formula, JSON and SQL": (b'=1+1; DROP TABLE x; {"text": null} \' " \\ `', SCORED),
    "digits alone": (b"5", SCORED),
    "the word null": (b"null", SCORED),
    "noncharacters and private use": ("good \U0010ffff \ue000".encode(), SCORED),
}
_ODD_IDS = ("", " ", "null", "R\u00e9-\U0001f44d", "a,b", "x" * 10_000, "Upper", "upper")
_CONFLICTS = (
    *(Row("conflict", text) for text in (b"good", b"bad", b"good")),
    *(Row("conflict null", text) for text in (b"good", None)),
)
_QUICK = ("null", "no UTF-8")
Score = Callable[..., Ended]


@pytest.fixture(scope="module")
def found(score: Score, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Score the named rows once for all tests."""
    rows = [Row(f"text: {name}", text) for name, (text, _) in _TEXTS.items()]
    rows += [Row(None, b"good"), Row(None, b"good"), Row(None, None)]
    rows += [Row(f"{_NO_UTF8}1", b"good phone"), Row(f"r{_NO_UTF8}", None)]
    rows += [Row(id_, b"good phone") for id_ in _ODD_IDS]
    rows += [Row("twice", b"good")] * 3 + [Row("twice null", None)] * 2
    return _score_rows(score, [*rows, *_CONFLICTS], tmp_path_factory.mktemp("named"))


@pytest.fixture(scope="module")
def ask(model: TinyModel) -> Ask:
    """Return a function that asks the model of one text alone: scored, or the reject reason."""
    loaded = loading.load_model(model.uri, {"max_text_chars": _MAX_CHARS})

    def ask_alone(text: bytes | None) -> str:
        try:
            value = None if text is None else text.decode()
        except UnicodeDecodeError:
            return schema.UNDECODABLE_TEXT
        return predict_each(loaded, [value])[schema.REJECT_REASON][0] or SCORED

    return ask_alone


@pytest.fixture(scope="module")
def generated(score: Score, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Score the generated rows once for all tests."""
    folder = tmp_path_factory.mktemp("generated")
    return _score_rows(score, _generate_rows(), folder, max_text_chars=_GENERATED_MAX_CHARS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.quick] * (name in _QUICK)) for name in _TEXTS]
)
def test_a_text_is_one_score_or_one_reject(name: str, found: Found, ask: Ask) -> None:
    text, expected = _TEXTS[name]
    alone = ask(text)
    assert found.outcomes[f"text: {name}"] == [alone]
    # The tiny model knows few words, so it may know nothing of a text that is fine.
    assert alone == expected or (alone == schema.UNKNOWN_TEXT and expected == SCORED)


@pytest.mark.quick
def test_rows_without_id_are_a_reject_each(found: Found) -> None:
    """Two equal rows without id may be two reviews; invalid UTF-8 counts as no id."""
    assert found.null_ids == 5
    assert any("5 rows have no review_id" in line for line in found.ended.summary["warnings"])


def test_odd_ids_are_scored(found: Found) -> None:
    for id_ in _ODD_IDS:
        assert found.outcomes[id_] == [SCORED], id_


def test_an_id_twice_with_one_text_is_scored_once(found: Found) -> None:
    assert found.outcomes["twice"] == [SCORED]


def test_an_id_twice_without_text_is_rejected_once(found: Found) -> None:
    assert found.outcomes["twice null"] == [schema.NULL_TEXT]


def test_of_an_id_with_two_texts_the_latest_is_scored(found: Found) -> None:
    assert found.outcomes["conflict"] == [SCORED]
    assert found.outcomes["conflict null"] == [schema.NULL_TEXT]
    assert found.ended.summary["superseded_rows"] == 2 + 1 + 2 + 1
    assert found.ended.summary["conflicting_ids"] == 2


def test_an_id_with_two_texts_is_rejected_if_asked(score: Score, tmp_path: Path) -> None:
    rows = [*_CONFLICTS, *[Row("twice", b"good")] * 2]
    found = _score_rows(score, rows, tmp_path, on_duplicate="reject")
    assert found.outcomes == {
        "conflict": [schema.DUPLICATE_ID] * 3,
        "conflict null": [schema.DUPLICATE_ID] * 2,
        "twice": [SCORED],
    }
    assert found.ended.summary["superseded_rows"] == 1


def test_the_rows_of_a_run_add_up(generated: Found) -> None:
    """Check that no row is lost: rows without id are rejects, and repeated rows are counted."""
    rows = _generate_rows()
    assert generated.null_ids == sum(not row.has_id for row in rows)
    texts_by_id: dict[str, list[bytes | None]] = {}
    for row in rows:
        if row.id is not None and row.has_id:
            texts_by_id.setdefault(row.id, []).append(row.text)
    assert set(generated.outcomes) == set(texts_by_id)
    superseded = sum(len(texts) - 1 for texts in texts_by_id.values())
    summary = generated.ended.summary
    assert summary["superseded_rows"] == superseded > 0
    assert summary["conflicting_ids"] == sum(len(set(texts)) > 1 for texts in texts_by_id.values()) > 0
    assert (
        summary["scored_rows"] + summary["rejected_rows"] + superseded == len(rows) == summary["input_rows"]
    )


@pytest.mark.parametrize("number", range(_GENERATED_ROWS))
def test_a_generated_row_has_the_outcome_of_the_latest_row_of_its_id(
    number: int, generated: Found, ask: Ask
) -> None:
    rows = _generate_rows()
    row = rows[number]
    if row.id is None or not row.has_id:
        test_the_rows_of_a_run_add_up(generated)
        return
    texts = [other.text for other in rows if other.id == row.id]
    [outcome] = generated.outcomes[row.id]
    assert outcome in _list_possible(texts[-1]), f"{row}: {outcome}"
    if outcome in (SCORED, schema.UNKNOWN_TEXT, schema.BLANK_TEXT):
        assert outcome == ask(texts[-1])


def test_whole_numbers_are_ids(score: Score, tmp_path: Path) -> None:
    ids = pa.array([0, -1, 2**63 - 1, -(2**63), None, 5, 5], pa.int64())
    found = _score_ids(score, tmp_path, {"review_id": ids})
    assert found == {(0,): 1, (-1,): 1, (2**63 - 1,): 1, (-(2**63),): 1, (5,): 1}


def test_times_are_ids(score: Score, tmp_path: Path) -> None:
    times = [datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2026, 3, 29, 1, 30)]
    found = _score_ids(score, tmp_path, {"review_id": pa.array([*times, None, times[0]], pa.timestamp("us"))})
    assert {pd.Timestamp(time).tz_localize(None): rows for (time,), rows in found.items()} == {
        pd.Timestamp(time): 1 for time in times
    }


def test_ids_of_two_columns_are_pairs(score: Score, tmp_path: Path) -> None:
    """Check that one null makes an id null, and that ("a", "bc") is not ("ab", "c")."""
    ids = {"shop": pa.array(["a", "ab", None, "a", "a"]), "number": pa.array(["bc", "c", "c", None, "bc"])}
    assert _score_ids(score, tmp_path, ids) == {("a", "bc"): 1, ("ab", "c"): 1}


def test_texts_of_two_columns_are_joined(score: Score, tmp_path: Path) -> None:
    columns = {
        "review_id": ["both", "title", "text", "none", "blank"],
        "title": ["good", "good", None, None, " "],
        "text": ["phone", None, "phone", None, ""],
    }
    found = _score_table(score, pa.table(columns), tmp_path, text_col="title,text")
    assert found.outcomes == {
        **{"both": [SCORED], "title": [SCORED], "text": [SCORED]},
        **{"none": [schema.NULL_TEXT], "blank": [schema.BLANK_TEXT]},
    }


@functools.cache
def _generate_rows() -> tuple[Row, ...]:
    """Return the same rows always; one in ten has the id of an earlier one, half of these with its text."""
    chance = random.Random(_SEED)
    rows: list[Row] = []
    for number in range(_GENERATED_ROWS):
        id_ = chance.choices((None, f"{_NO_UTF8}{number}", f"g{number}"), (5, 2, 93))[0]
        row = Row(id_, _generate_text(chance))
        if rows and chance.random() < 0.1:
            earlier = chance.choice(rows)
            row = earlier if chance.random() < 0.5 else Row(earlier.id, row.text)
        rows.append(row)
    return tuple(rows)


_ALPHABETS = (
    "abcdefghij    .,!?",
    "".join(map(chr, range(1, 256))),
    "\0\t\n\r\x0b\x1c\x85\u00a0\u2003\u200b\u2028\u3000\ufeff",
    "good bad \u0301\u200d\u202e\u05d0\u0627\u0e01\u4e00\uac00",
    "👍🏽👨‍👩‍👧🇩🇪 \U0001d518\U00020000\U0010ffff\ue000\ufffd",
)


def _generate_text(chance: random.Random) -> bytes | None:
    kind = chance.random()
    if kind < 0.05:
        return None
    if kind < 0.15:
        return chance.randbytes(chance.randrange(1, 40))
    length = chance.choice((0, 1, 2, 20, _GENERATED_MAX_CHARS, _GENERATED_MAX_CHARS + 1))
    return "".join(chance.choices(chance.choice(_ALPHABETS), k=length)).encode()


def _list_possible(text: bytes | None) -> set[str]:
    """Return the possible outcomes: two for a text of marks only, which a tokenizer may drop, else one."""
    if text is None:
        return {schema.NULL_TEXT}
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return {schema.UNDECODABLE_TEXT}
    if len(decoded) > _GENERATED_MAX_CHARS:
        return {schema.TOO_LONG_TEXT}
    if not decoded.strip():
        return {schema.BLANK_TEXT}
    has_letters = any(unicodedata.category(char)[0] in "LNPS" for char in decoded)
    # Whether the model knows enough of a text is the model's to say.
    return {SCORED, schema.UNKNOWN_TEXT} | (set() if has_letters else {schema.BLANK_TEXT})


def _score_ids(score: Score, folder: Path, ids: dict[str, pa.Array]) -> Counter[tuple[Any, ...]]:
    """Score rows with one text and these ids, which repeat or have a null; count the scores of each id."""
    n_rows = len(next(iter(ids.values())))
    pq.write_table(pa.table({**ids, "text": ["good phone"] * n_rows}), folder / "reviews.parquet")
    options = {"id_col": ",".join(ids), "max_reject_share": 1.0}
    ended = score(folder / "reviews.parquet", folder / "scores", **options)
    assert ended.exit_code == 0, ended.error
    rows = pq.read_table(folder / "scores", columns=list(ids)).to_pylist()
    has_null = [any(not column[i].is_valid for column in ids.values()) for i in range(n_rows)]
    assert ended.summary["rejected_by_reason"] == {schema.NULL_ID: sum(has_null)}
    assert len(rows) + sum(has_null) + ended.summary["superseded_rows"] == n_rows
    rerun = score(folder / "reviews.parquet", folder / "scores", **options)
    assert (rerun.summary["scored_rows"], rerun.summary["skipped_rows"]) == (0, n_rows)
    return Counter(tuple(row[name] for name in ids) for row in rows)


def _score_rows(score: Score, rows: Sequence[Row], folder: Path, **options: Any) -> Found:
    ids = [None if row.id is None else row.id.encode(errors="surrogateescape") for row in rows]
    columns = {"review_id": ids, "text": [row.text for row in rows]}
    # Views: a cast would refuse what is no UTF-8.
    table = pa.table(
        {name: pa.array(values, pa.binary()).view(pa.string()) for name, values in columns.items()}
    )
    return _score_table(score, table, folder, **options)


def _score_table(score: Score, table: pa.Table, folder: Path, **options: Any) -> Found:
    pq.write_table(table, folder / "reviews.parquet")
    ended = score(folder / "reviews.parquet", folder / "scores", max_reject_share=1.0, **options)
    assert ended.exit_code == 0, ended.error
    scored = pd.read_parquet(folder / "scores")
    assert scored["score"].between(0.5, 1).all()
    rejects = read_rejects(folder / "scores")
    outcomes: dict[str, list[str]] = {}
    for id_ in scored["review_id"]:
        outcomes.setdefault(id_, []).append(SCORED)
    has_id = rejects["review_id"].notna()
    for id_, reason in rejects[has_id].itertuples(index=False):
        outcomes.setdefault(id_, []).append(reason)
    assert set(rejects[~has_id]["reject_reason"]) <= {schema.NULL_ID}
    return Found(outcomes, int((~has_id).sum()), ended)
