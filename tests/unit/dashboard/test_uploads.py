"""An uploaded file in, the same rows with predictions out."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from sentiment import schema
from sentiment.dashboard import uploads
from sentiment.errors import EmptyInputError, InputError, SchemaMismatchError, UnreadableFileError

PRIVATE = "my neighbour Ada bought it"


def to_parquet(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def make_predictions(labels):
    return pd.DataFrame(
        {
            schema.LABEL: pd.Series(labels, dtype=object),
            schema.SCORE: [0.75 if label else float("nan") for label in labels],
            schema.UNSURE: [False for _ in labels],
            schema.N_TOKENS: [5 if label else 0 for label in labels],
            schema.TRUNCATED: [False for _ in labels],
            schema.STAGE: pd.Series(["encoder" if label else None for label in labels], dtype=object),
            schema.REJECT_REASON: pd.Series(
                [None if label else "blank_text" for label in labels], dtype=object
            ),
        }
    )


def test_a_csv_keeps_every_value_as_it_stands():
    data = '\ufeffid,text,stars\r\n007,"one, two\nthree",5\r\n008,NA,\r\n'.encode()
    table = uploads.read_upload("r.CSV", data)
    assert table.to_pydict() == {
        "id": ["007", "008"],
        "text": ["one, two\nthree", "NA"],
        "stars": ["5", ""],
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_may_use_the_delimiters_of_spreadsheets(delimiter):
    data = f"id{delimiter}text\n1{delimiter}good\n".encode()
    assert uploads.read_upload("r.csv", data).column_names == ["id", "text"]


def test_a_blank_line_is_no_row_and_a_quoted_nothing_is_one():
    assert uploads.read_upload("r.csv", b'text\ngood\n\n""\n\n').to_pydict() == {"text": ["good", ""]}


def test_a_parquet_table_keeps_its_types():
    table = pa.table({"id": pa.array([1, None], pa.int16()), "text": ["good", None]})
    assert uploads.read_upload("r.parquet", to_parquet(table)).equals(table)


def test_text_that_is_not_utf8_in_parquet_is_refused():
    text = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    with pytest.raises(UnreadableFileError, match="not a readable Parquet file"):
        uploads.read_upload("r.parquet", to_parquet(pa.table({"text": text})))


@pytest.mark.parametrize(
    ("name", "data", "error", "words"),
    [
        ("r.csv", b"", UnreadableFileError, "empty"),
        ("r.csv", b"\n\n", EmptyInputError, "only blank lines"),
        ("r.csv", b"id,text\n", EmptyInputError, "no rows"),
        ("r.parquet", to_parquet(pa.table({"text": pa.array([], pa.string())})), EmptyInputError, "no rows"),
        ("r.csv", f"text\n{PRIVATE} caf\xe9".encode("latin-1"), UnreadableFileError, "not UTF-8"),
        ("r.csv", f"id,text\n1,{PRIVATE}\n2,a,{PRIVATE}\n".encode(), UnreadableFileError, "line 3: 3 values"),
        ("r.csv", f'id,text\n1,"{PRIVATE}\n'.encode(), UnreadableFileError, "not valid CSV"),
        ("r.csv", f"text,text\na,{PRIVATE}\n".encode(), InputError, "several columns have the name 'text'"),
        ("r.parquet", PRIVATE.encode(), UnreadableFileError, "not a readable Parquet file"),
        ("r.parquet", b"PAR1", UnreadableFileError, "not a readable Parquet file"),
        ("r.xlsx", b"PK", UnreadableFileError, "expected a .csv or .parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_gives_one_line_without_review_text(name, data, error, words):
    with pytest.raises(error, match=words) as raised:
        uploads.read_upload(name, data)
    message = str(raised.value)
    assert name in message
    assert "\n" not in message
    assert "Ada" not in message


def test_text_columns_are_strings_that_are_not_all_numbers():
    table = pa.table(
        {
            "id": ["007", "008"],
            "stars": [4, 5],
            "text": ["10/10", "5"],
            "none": pa.array([None, None], pa.string()),
            "shop": pa.array(["a", "b"]).dictionary_encode(),
            "tags": [["x"], ["y"]],
        }
    )
    assert uploads.find_text_columns("r.parquet", table) == ["text", "none", "shop"]


def test_a_table_without_text_is_refused_and_the_message_says_what_was_found():
    with pytest.raises(SchemaMismatchError, match=r"id \(string\), stars \(int64\)"):
        uploads.find_text_columns("r.parquet", pa.table({"id": ["7"], "stars": [5]}))


@pytest.mark.parametrize(
    ("columns", "position"),
    [
        (["title", "text"], 1),
        (["title", "content"], 1),
        (["content", "text"], 1),
        (["review"], 0),
        (["a", "b"], None),
    ],
)
def test_the_usual_column_is_proposed_and_no_column_is_guessed(columns, position):
    assert uploads.choose_usual_column(columns) == position


def test_predictions_stand_beside_the_rows_they_belong_to():
    table = pa.table({"id": [3, 1, 2], "text": ["good", "", "bad"]})
    scored = uploads.add_predictions(table, make_predictions(["positive", None, "negative"]))
    assert scored.column_names == ["id", "text", *schema.PREDICTION_COLUMNS]
    assert scored.select(["id", "label", "score", "reject_reason"]).to_pylist() == [
        {"id": 3, "label": "positive", "score": 0.75, "reject_reason": None},
        {"id": 1, "label": None, "score": None, "reject_reason": "blank_text"},
        {"id": 2, "label": "negative", "score": 0.75, "reject_reason": None},
    ]


def test_predictions_of_another_number_of_rows_are_refused():
    with pytest.raises(ValueError, match="1 predictions for 2 rows"):
        uploads.add_predictions(pa.table({"text": ["a", "b"]}), make_predictions(["positive"]))


def test_columns_of_the_file_keep_their_names_and_the_predictions_move():
    table = pa.table({"text": ["good"], "label": [2], "score": [0.1], "score_predicted": ["x"]})
    scored = uploads.add_predictions(table, make_predictions(["positive"]))
    assert scored.select(table.column_names).equals(table)
    assert scored.column_names[4:] == [
        "label_predicted",
        "score_predicted_2",
        "unsure",
        "n_tokens",
        "truncated",
        "stage",
        "reject_reason",
    ]


def test_both_downloads_read_back_as_the_scored_table():
    table = pa.table(
        {"id": pa.array([1, None], pa.int64()), "text": ['say "hi",\nAda', ""], "shop": pa.array(["x", "y"])}
    ).set_column(2, "shop", pa.array(["x", "y"]).dictionary_encode())
    scored = uploads.add_predictions(table, make_predictions(["positive", None]))
    assert pq.read_table(pa.BufferReader(uploads.write_parquet(scored))).equals(scored)

    options = pacsv.ConvertOptions(
        strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    parsing = pacsv.ParseOptions(newlines_in_values=True)
    back = pacsv.read_csv(
        pa.BufferReader(uploads.write_csv(scored)), parse_options=parsing, convert_options=options
    )
    assert back.to_pylist() == scored.to_pylist()


def test_a_column_that_csv_cannot_hold_is_named():
    with pytest.raises(SchemaMismatchError, match="column tags has type list"):
        uploads.write_csv(pa.table({"text": ["good"], "tags": [["a", "b"]]}))
