"""The pages as a user meets them, with a small model in place of the registry's."""

import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment import schema
from sentiment.dashboard import model
from sentiment.dashboard.wording import escape_markdown
from sentiment.errors import ModelError, ModelNotFoundError
from sentiment.models import loading, registry
from tests.standins import StandIn

streamlit = pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest  # noqa: E402  only where streamlit is installed

DASHBOARD = Path(model.__file__).parent
BLANK = schema.REJECT_REASONS[schema.BLANK_TEXT]
REJECT_FAILED = "the model fails on this text"
URI = "models:/tiny@champion"
PRIVATE = "my neighbour Ada bought it"


class StandInModel(StandIn):
    """Positive if "good" is in the text; reads at most four words."""

    columns = (*schema.PREDICTION_COLUMNS, schema.PROBABILITIES)

    def predict_one(self, text):
        if text is None or not text.strip():
            reason = schema.NULL_TEXT if text is None else schema.BLANK_TEXT
            return (None, float("nan"), False, 0, False, None, reason)
        words = text.split()
        label = schema.POSITIVE if "good" in words else schema.NEGATIVE
        return (label, 0.875, False, min(len(words), 4), len(words) > 4, "encoder", None)


class FailingModel(StandInModel):
    """Fails on `words`, and quotes the review as a careless library would."""

    def __init__(self, words=""):
        self.words = words

    def predict_one(self, text):
        if self.words in text:
            raise RuntimeError(f"cannot read {text}")
        return super().predict_one(text)


def put_model(monkeypatch, loaded, version="7"):
    reference = registry.ModelReference(URI, version, Path("/nowhere"), "m-1", "content")
    monkeypatch.setattr(registry, "use_tracking", lambda home: "")
    monkeypatch.setattr(registry, "resolve_model", lambda uri: reference)
    monkeypatch.setattr(loading, "load_model", lambda found, *_, **__: loaded)


@pytest.fixture
def page(monkeypatch):
    """The page for a file, not run yet, with the stand-in model."""
    monkeypatch.setenv("SENTIMENT_MODEL_URI", URI)
    put_model(monkeypatch, StandInModel())
    streamlit.cache_resource.clear()
    yield open_page("file")
    streamlit.cache_resource.clear()


@pytest.fixture
def one(page):
    """The page for one review, not run yet."""
    return open_page("try")


def open_page(name):
    code = f"from sentiment.dashboard import app; app.show_page({name!r})"
    return AppTest.from_string(code, default_timeout=30)


def click(page, label):
    (found,) = (button for button in page.button if re.fullmatch(label, button.label))
    return found.click().run()


def score_one(page, text):
    page.run()
    page.text_area[0].set_value(text)
    return click(page, "Score the review")


def upload(page, name, data):
    page.run()
    page.file_uploader[0].upload(name, data)
    return page.run()


def score_file(page, name, data):
    upload(page, name, data)
    return click(page, r"Score [\d,]+ reviews")


def metrics(page):
    return {metric.label: metric.value for metric in page.metric}


def only_error(page):
    """The one error line of a page that shows neither results nor a traceback."""
    assert not page.exception
    (error,) = page.error
    assert "\n" not in error.value
    assert not page.metric
    return error.value.replace("\\", "")


def to_parquet(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["try", "file"])
def test_the_page_names_the_model_in_use(page, name):
    page = open_page(name).run()
    assert page.sidebar.code[0].value == URI
    assert [line.value for line in page.sidebar.text] == [
        *("Version 7", "Engine int8 on avx512_vnni", "Trained on column content")
    ]
    assert not page.error


@pytest.mark.parametrize(("name", "title"), [("try", "Try"), ("file", "File")])
def test_a_fresh_page_shows_its_title_and_no_stray_words(page, name, title):
    page = open_page(name).run()
    assert [found.value for found in page.title] == [title]
    assert not page.main.markdown
    assert not page.main.text


def test_the_app_opens_on_its_first_page(page):
    page = AppTest.from_file(DASHBOARD / "app.py", default_timeout=30).run()
    assert not page.exception
    assert [title.value for title in page.title] == ["Try"]


def test_one_review_gets_label_score_and_the_words_that_pushed_it(one):
    score_one(one, "a good <b>phone</b>")
    found = {"Label": "positive", "Score": "0.875", "Sure enough": "yes", "Tokens read": "3"}
    assert metrics(one) == found
    assert not one.info
    (shown,) = one.get("html")
    # Without "good" the stand-in says negative, so positive has 0.125 there; other words change nothing.
    assert "raises positive by 0.750" in shown.proto.body
    assert shown.proto.body.count("<span") == 1
    assert "&lt;b&gt;phone" in shown.proto.body
    assert any("left out once" in caption.value for caption in one.caption)
    assert one.table[0].value["effect"].tolist()[0].replace("\\", "") == "raises positive by 0.750"


def test_an_ordinal_label_comes_with_its_expected_value(one, monkeypatch):
    class Stars(StandInModel):
        labels = schema.STAR_LABELS
        columns = (*StandInModel.columns, schema.EXPECTED)

        def predict_columns(self, values):
            n = len(values)
            row = {
                **dict(
                    zip(schema.PREDICTION_COLUMNS, ("4", 0.6, True, 3, False, "encoder", None), strict=True)
                )
            }
            row |= {schema.EXPECTED: 3.8, schema.PROBABILITIES: [0.1, 0.1, 0.1, 0.6, 0.1]}
            return {name: [row[name]] * n for name in self.columns}

    put_model(monkeypatch, Stars())
    score_one(one, "fine")
    assert metrics(one)["Expected"] == "3.80"
    assert metrics(one)["Sure enough"] == "no, unsure"
    assert one.get("vega_lite_chart")


def test_a_truncated_review_is_said_to_be_one(one):
    score_one(one, "a good phone for a year")
    assert "4 of its tokens" in one.info[0].value


def test_a_blank_review_is_rejected_in_words(one):
    score_one(one, "  ")
    assert schema.REJECT_REASONS[schema.BLANK_TEXT] in one.warning[0].value
    assert not one.metric


def test_a_file_is_summed_up_and_every_row_comes_back_in_order(page):
    data = b'id,text\n03,a good one\n01,""\n02,it broke\n04,good and long and more\n'
    score_file(page, "reviews.csv", data)
    assert metrics(page) == {"Rows": "4", "Scored": "3", "Rejected": "1", "Unsure": "0", "Truncated": "1"}
    assert page.table[0].value.to_dict() == {"rows": {escape_markdown(BLANK): 1}}
    assert list(page.dataframe[-1].value["id"]) == ["03", "01", "02", "04"]
    assert page.get("vega_lite_chart")

    scored = page.session_state["scored"]
    assert [button.label for button in page.download_button] == [
        "Download CSV",
        "Download Parquet",
        "Download rejects",
    ]
    assert scored.csv.decode().splitlines() == [
        '"id","text","label","score","unsure","n_tokens","truncated","stage","reject_reason"',
        '"03","a good one","positive",0.875,false,3,false,"encoder",',
        '"01","",,,false,0,false,,"blank_text"',
        '"02","it broke","negative",0.875,false,2,false,"encoder",',
        '"04","good and long and more","positive",0.875,false,4,true,"encoder",',
    ]
    assert pq.read_table(pa.BufferReader(scored.parquet)).column("id").to_pylist() == ["03", "01", "02", "04"]


def test_a_parquet_file_of_more_than_one_chunk_keeps_its_rows(page, monkeypatch):
    monkeypatch.setattr(model, "CALL_ROWS", 3)
    texts = ["good" if i % 3 else None for i in range(10)]
    score_file(page, "reviews.parquet", to_parquet(pa.table({"n": range(10), "content": texts})))
    scored = page.session_state["scored"].table
    assert scored.column("n").to_pylist() == list(range(10))
    assert scored.column("label").to_pylist() == ["positive" if text else None for text in texts]
    assert scored.column("reject_reason").to_pylist() == [None if text else "null_text" for text in texts]


def test_results_stay_when_something_else_is_clicked_and_go_with_the_column(page):
    score_file(page, "reviews.csv", b"title,text\ngood,it broke\n")
    assert page.session_state["scored"].table.column("label").to_pylist() == ["negative"]
    page.run()
    assert metrics(page)["Rows"] == "1"
    page.selectbox[0].select("title").run()
    assert not page.metric
    click(page, "Score 1 reviews")
    assert page.session_state["scored"].table.column("label").to_pylist() == ["positive"]


def test_a_file_taken_away_is_forgotten(page):
    score_file(page, "reviews.csv", b"text\ngood\n")
    page.file_uploader[0].clear()
    page.run()
    assert "scored" not in page.session_state
    assert "read" not in page.session_state


def test_no_column_is_chosen_for_the_user_among_unusual_ones(page):
    upload(page, "reviews.csv", b"title,body\na,b\n")
    assert page.selectbox[0].value is None
    assert next(button for button in page.button if button.label == "Score 1 reviews").disabled


def test_clashing_columns_are_announced_and_both_kept(page):
    score_file(page, "reviews.csv", b"text,label\ngood,2\n")
    assert "label → label_predicted" in page.info[0].value.replace("\\", "")
    row = page.session_state["scored"].table.to_pylist()[0]
    assert (row["label"], row["label_predicted"]) == ("2", "positive")


def test_a_table_that_csv_cannot_hold_can_still_be_had_as_parquet(page):
    table = pa.table({"text": ["good"], "tags": [["x"]]})
    score_file(page, "reviews.parquet", to_parquet(table))
    assert [button.label for button in page.download_button] == ["Download Parquet"]
    assert any("cannot hold tags (list" in text.value for text in page.main.text)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("reviews.csv", b"", "reviews.csv: is empty"),
        ("reviews.parquet", PRIVATE.encode(), "reviews.parquet: not a readable Parquet file"),
        (
            "reviews.csv",
            f"text\n{PRIVATE},or not\n".encode(),
            "(line 2: 2 values, expected 1 as in the header)",
        ),
        ("reviews.csv", b"id,stars\n7,5\n", "reviews.csv: no column has text"),
    ],
)
def test_a_file_that_cannot_be_used_gives_one_line(page, name, data, words):
    upload(page, name, data)
    message = only_error(page)
    assert words in message
    assert "Ada" not in message


def test_names_from_a_file_are_shown_as_they_are_not_as_markdown(page):
    upload(page, "r.csv", b"![x](https://example.org/pixel)\n7\n")
    assert "![" not in page.error[0].value
    assert "![x](https://example.org/pixel)" in only_error(page)


def test_a_missing_model_gives_one_line_and_is_looked_for_again(page, monkeypatch):
    def find_none(uri):
        raise ModelNotFoundError(f"no model at {uri!r}")

    monkeypatch.setattr(registry, "resolve_model", find_none)
    page.run()
    message = only_error(page)
    assert f"no model at '{URI}'" in message
    assert "SENTIMENT_MODEL_URI" in message
    put_model(monkeypatch, StandInModel())
    page.run()
    assert not page.error
    assert page.sidebar.text


def test_the_model_is_loaded_once_and_anew_on_request(one, monkeypatch):
    loads = []
    monkeypatch.setattr(loading, "load_model", lambda found, *_, **__: loads.append(found) or StandInModel())
    score_one(one, "good")
    assert len(loads) == 1
    put_model(monkeypatch, StandInModel(), version="8")
    click(one, "Load again")
    assert one.sidebar.text[0].value == "Version 8"
    assert not one.metric  # what version 7 said is no longer shown


def test_a_text_that_breaks_the_model_is_a_reject_and_the_rest_of_the_upload_is_scored(page, monkeypatch):
    put_model(monkeypatch, FailingModel("broken"))
    score_file(page, "r.csv", b"text\na good phone\nit is broken\nnever again\n")
    assert not page.error
    assert metrics(page) == {"Rows": "3", "Scored": "2", "Rejected": "1", "Unsure": "0", "Truncated": "0"}
    assert REJECT_FAILED in str(page.table[0].value.index[0])


def test_a_review_that_breaks_the_model_is_a_reject_and_is_not_logged(one, monkeypatch, caplog, capfd):
    put_model(monkeypatch, FailingModel())
    with caplog.at_level(logging.DEBUG):
        score_one(one, PRIVATE)
    assert REJECT_FAILED in one.warning[0].value
    assert "Ada" not in one.warning[0].value + caplog.text + "".join(capfd.readouterr())


def test_a_model_that_fails_on_every_review_does_not_show_or_log_one(page, monkeypatch, caplog, capfd):
    put_model(monkeypatch, FailingModel())
    with caplog.at_level(logging.DEBUG):
        score_file(page, "r.csv", f"text\n{PRIVATE}\n{PRIVATE}\n{PRIVATE}\n".encode())
    message = only_error(page)
    assert "failed while it scored: RuntimeError" in message
    assert "Ada" not in message + caplog.text + "".join(capfd.readouterr())


def test_the_answer_to_an_older_review_is_gone_once_the_model_failed(one, monkeypatch):
    score_one(one, "a good phone")
    monkeypatch.setattr(StandInModel, "predict_columns", lambda self, values: {})
    score_one(one, "it broke")
    only_error(one)
    one.run()
    assert not one.metric


def test_an_unexpected_error_is_named_without_its_message(page, monkeypatch, caplog, capfd):
    def fail(*_):
        raise KeyError(PRIVATE)

    monkeypatch.setattr("sentiment.dashboard.downloads.add_predictions", fail)
    score_file(page, "r.csv", f"text\n{PRIVATE}\n".encode())
    assert "Unexpected KeyError" in only_error(page)
    assert "unexpected KeyError at" in caplog.text
    assert "Ada" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "answer", [{"label": ["positive"]}, {name: [] for name in schema.PREDICTION_COLUMNS}, [1]]
)
def test_an_answer_of_another_model_is_refused(answer):
    class OtherModel(StandIn):
        def predict_columns(self, values):
            return answer

    used = model.ModelInUse(registry.ModelReference(URI, "1", Path(), "m", None), OtherModel())
    with pytest.raises(ModelError, match="is not a sentiment model"):
        model.predict(used, ["good"])


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, {"allow_unverified": False, "verify_key": None}),
        ({"SENTIMENT_ALLOW_UNVERIFIED": "1"}, {"allow_unverified": True, "verify_key": None}),
        ({"SENTIMENT_VERIFY_KEY": "a.pub"}, {"allow_unverified": False, "verify_key": "a.pub"}),
    ],
)
def test_the_very_files_that_were_found_are_checked_and_loaded(monkeypatch, environment, told):
    for name in ("SENTIMENT_ALLOW_UNVERIFIED", "SENTIMENT_VERIFY_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    put_model(monkeypatch, None)
    calls = []
    monkeypatch.setattr(loading, "load_model", lambda found, options, **told: calls.append((found, told)))
    used = model.open_model(URI, Path())
    assert calls == [(used.reference, told)]


def test_the_app_starts_without_a_model_and_scores_on_a_cpu_without_torch(use_tiny_model):
    """The modules of a process that has only started, and of one that has opened each page's module."""
    code = (
        "import sys, pathlib, importlib, sentiment.dashboard.app as app; print(*sys.modules);"
        "[importlib.import_module(f'sentiment.dashboard.{name}_page') for name in app.PAGES];"
        "from sentiment.dashboard import model;"
        f"used = model.open_model({use_tiny_model.uri!r}, pathlib.Path());"
        "assert model.explain(used, 'a good phone')[1];"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    started, working = (set(line.split()) for line in done.stdout.splitlines()[-2:])
    assert not started & {"mlflow", "pyarrow", "altair", "sentiment.models.loading"}
    assert "sentiment.models.registry" in working
    # MLflow itself imports scipy, and pyspark where it is installed.
    heavy = {"torch", "transformers", "sklearn", "datasets", "nncf"}
    # Of tables and monitoring the app needs what reads results.
    rooms = {"sentiment.training", "sentiment.tables.session", "sentiment.monitoring.night"}
    assert not working & (heavy | rooms)
