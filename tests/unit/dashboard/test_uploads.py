"""An uploaded file in, the same rows with predictions out."""

import datetime
import io

import duckdb
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from sentiment import schema
from sentiment.dashboard import downloads, uploads
from sentiment.dashboard.text_uploads import LeftOut
from sentiment.errors import (
    AmbiguousInputError,
    EmptyInputError,
    InputError,
    SchemaMismatchError,
    UnreadableFileError,
)

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
    table = uploads.read_upload("r.CSV", data).table
    assert table.to_pydict() == {
        "id": ["007", "008"],
        "text": ["one, two\nthree", "NA"],
        "stars": ["5", ""],
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_may_use_the_delimiters_of_spreadsheets(delimiter):
    data = f"id{delimiter}text\n1{delimiter}good\n".encode()
    assert uploads.read_upload("r.csv", data).table.column_names == ["id", "text"]


def test_a_blank_line_is_no_row_and_a_quoted_nothing_is_one():
    assert uploads.read_upload("r.csv", b'text\ngood\n\n""\n\n').table.to_pydict() == {"text": ["good", ""]}


def test_a_parquet_table_keeps_its_types():
    table = pa.table({"id": pa.array([1, None], pa.int16()), "text": ["good", None]})
    assert uploads.read_upload("r.parquet", to_parquet(table)).table.equals(table)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_damaged_text_in_parquet_costs_only_itself(kind):
    wide = kind == pa.large_string()
    text = pa.array([b"good", b"caf\xe9", None], pa.large_binary() if wide else pa.binary()).view(kind)
    upload = uploads.read_upload("r.parquet", to_parquet(pa.table({"text": text, "id": [1, 2, 3]})))
    assert upload.table.column("text").to_pylist() == ["good", "caf\ufffd", None]
    assert upload.list_texts("text") == ["good", "caf\udce9", None]
    assert upload.list_texts("id") == [1, 2, 3]


def test_a_damaged_text_in_csv_costs_only_itself():
    upload = uploads.read_upload("r.csv", b"id,text\n1,good\n2,caf\xe9\n")
    assert upload.table.column("text").to_pylist() == ["good", "caf\ufffd"]
    assert upload.list_texts("text") == ("good", "caf\udce9")


def test_the_reader_chooses_the_encoding_of_a_file_that_is_not_unicode():
    data = "text\ncaf\xe9 cr\xe8me\n".encode("cp1252")
    assert uploads.needs_encoding("r.csv", data)
    assert uploads.read_upload("r.csv", data, "cp1252").table.to_pydict() == {"text": ["caf\xe9 cr\xe8me"]}


def test_unicode_with_a_mark_needs_no_choice():
    data = "text\ncaf\xe9\n".encode("utf-16")
    assert not uploads.needs_encoding("r.csv", data)
    assert uploads.read_upload("r.csv", data).table.to_pydict() == {"text": ["caf\xe9"]}


def test_a_field_of_more_than_131072_characters_is_one_row():
    long = "good, " * 40_000
    table = uploads.read_upload("r.csv", f'id,text\n1,"{long}"\n2,short\n'.encode()).table
    assert table.column("text").to_pylist() == [long, "short"]


def test_rows_that_do_not_fit_are_left_out_with_their_lines():
    data = b'id,text\n1,good\n2,a,b\n3,"two\nlines"\n4,"x"y\n5,fine\n6\n7,last\n'
    upload = uploads.read_upload("r.csv", data)
    assert upload.table.column("id").to_pylist() == ["1", "3", "5", "7"]
    assert [(found.lines, found.reason) for found in upload.left_out] == [
        ("3", "3 values, expected 2 as in the header"),
        ("6", "not valid CSV (',' expected after '\"')"),
        ("8", "1 values, expected 2 as in the header"),
    ]


def test_tsv_keeps_commas():
    table = uploads.read_upload("r.tsv", b"id\ttext\n1\tgood, cheap\n").table
    assert table.to_pydict() == {"id": ["1"], "text": ["good, cheap"]}


def test_json_lines_keep_types_and_leave_out_what_is_no_object():
    data = (
        b'{"id": 1, "text": "good"}\n\nnot json\n{"text": "bad\\ud800", "tags": ["x"]}\n[1]\n{"text": "ok"}\n'
    )
    upload = uploads.read_upload("r.jsonl", data)
    assert upload.table.to_pydict() == {
        "id": [1, None, None],
        "text": ["good", "bad\ufffd", "ok"],
        "tags": [None, ["x"], None],
    }
    assert upload.list_texts("text") == ["good", "bad\ud800", "ok"]
    reasons = [(found.lines, found.reason) for found in upload.left_out]
    assert reasons == [("3", "not valid JSON"), ("5", "a JSON list, expected an object")]


def test_values_that_are_no_text_reach_the_model_as_they_are():
    upload = uploads.read_upload("r.jsonl", b'{"text": "good"}\n{"text": 5}\n{"text": {"a": 1}}\n')
    assert upload.table.column("text").to_pylist() == ["good", "5", '{"a": 1}']
    assert upload.list_texts("text") == ["good", 5, {"a": 1}]


def make_workbook(sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def test_a_sheet_of_a_workbook_is_read_with_types():
    day = datetime.date(2026, 1, 31)
    rows = [["id", "text", "stars", "day"], [7, "good", 4.5, day], [None] * 4, [8, None, 2, None]]
    data = make_workbook({"notes": [["x"], ["y"]], "reviews": rows})
    assert uploads.find_sheets("r.xlsx", data) == ["notes", "reviews"]
    with pytest.raises(AmbiguousInputError, match="notes, reviews"):
        uploads.read_upload("r.xlsx", data)
    assert uploads.read_upload("r.xlsx", data, sheet="reviews").table.to_pydict() == {
        "id": [7, 8],
        "text": ["good", None],
        "stars": [4.5, 2],
        "day": [day, None],
    }


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["Report"], ["id", "text"], [1, "good"]], "column 2 has no name"),
        ([["text", "text"], [1, 2]], "several columns"),
        ([], "no values"),
        ([["text"]], "no rows"),
    ],
)
def test_a_sheet_without_a_clear_header_is_refused(rows, words):
    with pytest.raises(InputError, match=words):
        uploads.read_upload("r.xlsx", make_workbook({"a": rows}))


@pytest.mark.parametrize(
    ("name", "data", "error", "words"),
    [
        ("r.csv", b"", UnreadableFileError, "empty"),
        ("r.csv", b"\n\n", EmptyInputError, "only blank lines"),
        ("r.csv", b"id,text\n", EmptyInputError, "no rows"),
        ("r.parquet", to_parquet(pa.table({"text": pa.array([], pa.string())})), EmptyInputError, "no rows"),
        ("r.csv", f"id,text\n2,a,{PRIVATE}\n".encode(), UnreadableFileError, "line 2: 3 values"),
        (
            "r.csv",
            f'id,text\n1,"{PRIVATE}\n'.encode(),
            UnreadableFileError,
            "line 2: not valid CSV: a quote opens",
        ),
        ("r.csv", f"text,text\na,{PRIVATE}\n".encode(), InputError, "several columns have the name 'text'"),
        ("r.parquet", PRIVATE.encode(), UnreadableFileError, "not a readable Parquet file"),
        ("r.parquet", b"PAR1", UnreadableFileError, "not a readable Parquet file"),
        ("r.doc", b"PK", UnreadableFileError, r"expected a file that ends in \.csv"),
        ("r.xlsx", b"PK", UnreadableFileError, "not a readable .xlsx workbook"),
        ("r.jsonl", PRIVATE.encode(), UnreadableFileError, "not valid JSON"),
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
    scored = downloads.add_predictions(table, make_predictions(["positive", None, "negative"]))
    assert scored.column_names == ["id", "text", *schema.PREDICTION_COLUMNS]
    assert scored.select(["id", "label", "score", "reject_reason"]).to_pylist() == [
        {"id": 3, "label": "positive", "score": 0.75, "reject_reason": None},
        {"id": 1, "label": None, "score": None, "reject_reason": "blank_text"},
        {"id": 2, "label": "negative", "score": 0.75, "reject_reason": None},
    ]


def test_predictions_of_another_number_of_rows_are_refused():
    with pytest.raises(ValueError, match="1 predictions for 2 rows"):
        downloads.add_predictions(pa.table({"text": ["a", "b"]}), make_predictions(["positive"]))


def test_columns_of_the_file_keep_their_names_and_the_predictions_move():
    table = pa.table({"text": ["good"], "label": [2], "score": [0.1], "score_predicted": ["x"]})
    scored = downloads.add_predictions(table, make_predictions(["positive"]))
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
    scored = downloads.add_predictions(table, make_predictions(["positive", None]))
    assert pq.read_table(pa.BufferReader(downloads.write_parquet(scored))).equals(scored)

    options = pacsv.ConvertOptions(
        strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    parsing = pacsv.ParseOptions(newlines_in_values=True)
    back = pacsv.read_csv(
        pa.BufferReader(downloads.write_csv(scored)), parse_options=parsing, convert_options=options
    )
    assert back.to_pylist() == scored.to_pylist()


@pytest.mark.parametrize(
    ("sql", "fits"),
    [
        ("uuid()", False),
        ("'{}'::json", False),
        ("interval 3 day", False),
        ("[1]", False),
        ("{'a': 1}", False),
        ("map{'a': 1}", False),
        ("'x'::blob", False),
        ("1.25::decimal(10, 2)", True),
        ("time '10:00:00'", True),
        ("timestamp '2026-01-31'", True),
        ("'a'::enum('a', 'b')", True),
        ("null", True),
    ],
)
def test_a_column_that_csv_cannot_hold_is_named_and_parquet_keeps_it(tmp_path, sql, fits):
    path = tmp_path / "r.parquet"
    duckdb.sql(f"copy (select 'good' as text, {sql} as extra) to '{path}' (format parquet)")
    table = uploads.read_upload("r.parquet", path.read_bytes()).table
    scored = downloads.add_predictions(table, make_predictions(["positive"]))
    assert pq.read_table(pa.BufferReader(downloads.write_parquet(scored))).equals(scored)
    if fits:
        assert downloads.write_csv(scored).startswith(b'"text","extra","label"')
    else:
        with pytest.raises(SchemaMismatchError, match=r"cannot hold extra \("):
            downloads.write_csv(scored)


def test_all_columns_that_csv_cannot_hold_are_named_at_once():
    table = pa.table({"text": ["good"], "tags": [["a", "b"]], "raw": [b"x"]})
    with pytest.raises(SchemaMismatchError, match=r"tags \(list.*\), raw \(binary\)"):
        downloads.write_csv(table)


def test_rejects_are_listed_with_the_lines_that_were_left_out():
    predictions = make_predictions(["positive", None])
    left_out = [LeftOut(5, 7, "3 values, expected 2 as in the header")]
    assert downloads.list_rejects(predictions, left_out)["where"].tolist() == ["row 2", "line 5 to 7"]
