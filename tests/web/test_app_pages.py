"""The pages for published scores, nights and models, on tables made here."""

import datetime
import os
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment import schema
from sentiment.config import FinetuneConfig
from sentiment.dashboard import corrections, nights, promotions, scores, trends
from sentiment.errors import ConfigError, SchemaMismatchError, StoreError, UnreadableFileError
from tests.app_data import make_nights, make_store
from tests.factories import make_reviews

streamlit = pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest  # noqa: E402  only where streamlit is installed

WHEN = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
TOKEN = "a-token-of-many-characters"
_VARIABLES = ("SCORES", "REVIEWS", "CORRECTIONS", "MONITORING", "ADMIN_TOKEN", "MODEL_URI")


@pytest.fixture
def open_page(monkeypatch):
    """Return a function that runs a page with settings of the operator."""
    streamlit.cache_resource.clear()
    for name in _VARIABLES:
        monkeypatch.delenv(f"SENTIMENT_{name}", raising=False)

    def run(name, **settings):
        for variable, value in settings.items():
            monkeypatch.setenv(f"SENTIMENT_{variable}", str(value))
        code = f"from sentiment.dashboard import app; app.show_page({name!r})"
        page = AppTest.from_string(code, default_timeout=60).run()
        assert not page.exception
        return page

    return run


def find(elements, label):
    (found,) = (element for element in elements if element.label == label)
    return found


def metrics(page):
    return {metric.label: metric.value for metric in page.metric}


def test_scores_show_trend_breakdown_and_rows_with_their_texts(open_page, tmp_path):
    store, reviews = make_store(tmp_path)
    page = open_page("scores", SCORES=store, REVIEWS=reviews)
    assert not page.error
    assert metrics(page)["Reviews"] == "60 of 60"
    assert metrics(page)["positive"] == "50.0%"
    assert len(page.get("vega_lite_chart")) == 2
    tables = [frame.value for frame in page.dataframe]
    assert tables[0]["reviews"].sum() == 60  # the trend, by month since the reviews have dates
    assert len(tables[0]) == 3
    assert set(tables[1]["category"]) == {"phones", "kettles", "shoes"}
    editor = tables[-1]
    assert editor["correct label"].tolist() == editor["label"].tolist()
    assert set(editor["text"]) <= set(pd.read_parquet(reviews)["text"])


def test_a_filter_changes_all_figures(open_page, tmp_path):
    store, reviews = make_store(tmp_path)
    page = open_page("scores", SCORES=store, REVIEWS=reviews)
    find(page.multiselect, "Only category").select("shoes")
    find(page.multiselect, "Only label").select("positive")
    page.run()
    assert metrics(page)["Reviews"] == "10 of 60"
    assert metrics(page)["positive"] == "100.0%"


def test_scores_work_without_the_reviews(open_page, tmp_path):
    store, _ = make_store(tmp_path)
    page = open_page("scores", SCORES=store)
    assert not page.error
    assert any("rows have their texts" in info.value for info in page.info)
    assert "Your name" not in [field.label for field in page.text_input]


@pytest.mark.parametrize(
    ("name", "settings", "command"),
    [
        ("scores", {}, "score_reviews.py"),
        ("scores", {"SCORES": "{folder}/none"}, "score_reviews.py"),
        ("nights", {}, "jobs/nightly.py"),
        ("nights", {"MONITORING": "{folder}/none"}, "jobs/nightly.py"),
        ("model", {"MODEL_URI": "models:/none@champion"}, "jobs/finetune.py"),
    ],
)
def test_an_empty_page_says_what_to_run(open_page, tmp_path, tracking, name, settings, command):
    (tmp_path / "empty").mkdir()
    page = open_page(name, **{key: value.format(folder=tmp_path) for key, value in settings.items()})
    assert not page.error
    assert command in page.code[0].value


def test_a_path_may_be_typed_unless_the_operator_has_set_it(open_page, tmp_path):
    store, _ = make_store(tmp_path)
    page = open_page("scores")
    find(page.text_input, "Published scores").input(str(store))
    page.run()
    assert metrics(page)["Reviews"] == "60 of 60"
    fixed = open_page("scores", SCORES=store)
    assert "Published scores" not in [field.label for field in fixed.text_input]


def test_reading_again_reads_the_reviews_too(open_page, tmp_path):
    store, reviews = make_store(tmp_path)
    page = open_page("scores", SCORES=store, REVIEWS=reviews)
    pd.read_parquet(reviews).assign(category="new").to_parquet(reviews)
    page = find(page.button, "Read again").click().run()
    assert set(page.dataframe[1].value["category"]) == {"new"}


def test_a_reader_cannot_choose_where_the_app_writes(open_page, tmp_path):
    store, reviews = make_store(tmp_path)
    page = open_page("scores", SCORES=store, REVIEWS=reviews)
    assert not [field.label for field in page.text_input if "older" in field.label]
    assert find(page.button, "Save the corrections").disabled
    fixed = open_page("scores", SCORES=store, REVIEWS=reviews, CORRECTIONS=tmp_path / "kept")
    assert not find(fixed.button, "Save the corrections").disabled


def test_a_delta_table_of_reviews_is_refused_since_its_folder_has_deleted_rows(tmp_path):
    _, reviews = make_store(tmp_path)
    (tmp_path / "table" / "_delta_log").mkdir(parents=True)
    reviews.rename(tmp_path / "table" / "part-0.parquet")
    with pytest.raises(UnreadableFileError, match="Delta table"):
        scores.find_reviews(str(tmp_path / "table"), ["review_id"])


def test_columns_of_reviews_may_be_in_names_of_folders_and_none_hides_a_prediction(tmp_path):
    for shop in ("007", "8"):
        path = tmp_path / f"shop={shop}" / "part.parquet"
        path.parent.mkdir()
        rows = {"review_id": [f"r{shop}"], "text": ["good"], "label": ["mine"], "stage": ["sold"]}
        pd.DataFrame(rows).to_parquet(path)
    reviews = scores.find_reviews(str(tmp_path), ["review_id"])
    assert scores.find_category_columns(reviews, ["review_id"]) == ["shop"]
    assert scores.find_text_columns(reviews) == ["text", "review_id", "shop"]
    found = scores.read_columns(reviews, ["review_id"], ["shop"])
    assert found.to_dict("records") == [
        {"review_id": "r007", "shop": "007"},
        {"review_id": "r8", "shop": "8"},
    ]


def test_ids_of_another_table_are_refused(open_page, tmp_path):
    store, _ = make_store(tmp_path)
    other = tmp_path / "other.parquet"
    pd.DataFrame({"id": ["r1"], "text": ["good"]}).to_parquet(other)
    page = open_page("scores", SCORES=store, REVIEWS=other)
    assert "has no column review" in page.error[0].value.replace("\\", "")


@pytest.mark.parametrize(
    ("period", "reviews", "change"), [("D", [2, 0, 1], [None, None, None]), ("M", [3], [None])]
)
def test_a_trend_has_each_period_and_the_change_from_the_one_before(period, reviews, change):
    rows = pd.DataFrame({"label": ["positive", "negative", "positive"], "score": 0.9})
    dates = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-03"]))
    measure = trends.list_measures(rows)[0]
    found = trends.sum_up_periods(rows, dates, measure, period)
    assert found["reviews"].tolist() == reviews
    assert [None if pd.isna(value) else value for value in found["change"]] == change


def test_the_change_is_that_of_the_share():
    rows = pd.DataFrame({"label": ["positive", "negative", "positive"], "score": 0.9})
    dates = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-01", "2026-02-03"]))
    found = trends.sum_up_periods(rows, dates, trends.list_measures(rows)[0], "M")
    assert found["change"].tolist()[1] == 0.5


def test_rare_categories_are_one_row():
    rows = pd.DataFrame(
        {"shop": [*"aabb", *(f"s{i}" for i in range(30)), None], "label": "positive", "score": 1.0}
    )
    found = trends.sum_up_categories(rows, "shop", trends.list_measures(rows)[0])
    assert found["shop"].tolist()[:2] == ["a", "b"]
    assert found["shop"].tolist()[-1] == "others"
    assert found["reviews"].sum() == 35


def test_the_newest_file_of_the_reviews_wins(tmp_path):
    for i, name in enumerate(("b", "a")):
        path = tmp_path / "in" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame({"review_id": ["r1"], "text": [f"text {i}"]}).to_parquet(path)
        os.utime(path, (1_000 + i, 1_000 + i))
    found = scores.read_columns(
        scores.find_reviews(str(tmp_path / "in"), ["review_id"]), ["review_id"], ["text"]
    )
    assert found["text"].tolist() == ["text 1"]


def test_ids_of_another_type_are_refused():
    ours, theirs = pd.DataFrame({"review_id": ["1"]}), pd.DataFrame({"review_id": [1], "text": ["good"]})
    with pytest.raises(SchemaMismatchError, match="review_id \\(object, int64\\)"):
        scores.join_reviews(ours, theirs, ["review_id"])


def correct(rows, labels, who="Ada", when=WHEN):
    return corrections.make_corrections(
        rows, ["review_id"], "text", pd.Series(labels, index=rows.index), who, when
    )


def test_fine_tuning_reads_the_corrections(tmp_path):
    """Saved in two steps; the reader of `jobs/finetune.py` gets the latest label of each review."""
    reading = pytest.importorskip("sentiment.training.data.reading")
    rows = make_reviews(80).drop(columns="label").assign(label="negative")
    new = correct(rows, ["positive" if i % 2 else "negative" for i in range(80)])
    assert new.num_rows == 40
    assert new.column_names == ["text", "label", "review_id", "who", "when"]
    assert corrections.save_corrections(tmp_path / "kept", new, ["review_id"]) == 40
    others = rows.iloc[::2].assign(label="positive")
    assert (
        corrections.save_corrections(tmp_path / "kept", correct(others, ["negative"] * 40), ["review_id"])
        == 80
    )
    found = reading.load_labelled_reviews(FinetuneConfig(dataset_name=str(tmp_path / "kept")))
    splits = found.splits
    texts = {**dict(zip(splits.train["text"], splits.train["label"], strict=True))}
    for part in (splits.validation, splits.test):
        texts |= dict(zip(part["text"], part["label"], strict=True))
    assert found.label_names == schema.POLARITY_LABELS
    assert found.text_col == "text"
    assert texts == {row.text: i % 2 for i, row in enumerate(rows.itertuples())}


def test_the_latest_correction_of_a_review_wins(tmp_path):
    rows = make_reviews(2).assign(label="negative")
    corrections.save_corrections(tmp_path, correct(rows, ["positive", "positive"]), ["review_id"])
    corrected = corrections.apply_corrections(rows, corrections.load_corrections(tmp_path), ["review_id"])
    assert corrected["label"].tolist() == ["positive", "positive"]
    assert (
        corrections.save_corrections(
            tmp_path, correct(corrected, ["negative", "positive"], "Bob"), ["review_id"]
        )
        == 2
    )
    found = corrections.load_corrections(tmp_path).to_pydict()
    assert (found["review_id"], found["label"], found["who"]) == (
        ["r1", "r0"],
        ["positive", "negative"],
        ["Ada", "Bob"],
    )
    assert [path.name for path in tmp_path.iterdir()] == [corrections.FILE]


def test_a_folder_with_corrections_of_another_table_is_refused(tmp_path):
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / corrections.FILE)
    with pytest.raises(StoreError, match="other columns"):
        corrections.save_corrections(
            tmp_path, correct(make_reviews(1).assign(label="a"), ["b"]), ["review_id"]
        )


def test_nights_show_the_last_one_its_alerts_and_all_parts(open_page, tmp_path):
    page = open_page("nights", MONITORING=make_nights(tmp_path / "m", 60))
    assert metrics(page)["Status"] == "alert"
    # The last night has an alert, and so has the one 30 nights before.
    assert [found.value[:11] for found in page.error] == ["29 Feb 2024", "30 Jan 2024"]
    assert len(page.get("vega_lite_chart")) >= 5
    assert [tab.label for tab in page.tabs] == ["Runs", "Accuracy", "Drift", "Quality"]


def test_only_the_nights_of_the_chosen_time_are_read(tmp_path):
    folder = make_nights(tmp_path / "m", 40)
    some, every = nights.load_nights(folder, 30), nights.load_nights(folder)
    assert (len(some.nights), len(every.nights)) == (30, 40)
    assert every.nights["realised_accuracy"].notna().sum() == 26
    assert len(every.alerts) == 1


def test_figures_of_an_unfinished_night_are_left_out(tmp_path):
    folder = make_nights(tmp_path / "m", 3)
    sorted((folder / "nights").iterdir())[-1].unlink()
    found = nights.load_nights(folder)
    assert found.figures["night"].nunique() == 2


def test_a_damaged_night_is_named_by_its_folder(tmp_path):
    folder = make_nights(tmp_path / "m", 2)
    sorted((folder / "nights").iterdir())[0].write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="run its night again"):
        nights.load_nights(folder)


def test_rejects_of_all_nights_are_added_up_by_reason():
    shown = pd.DataFrame({"rejects": [{"blank_text": 2}, {}, {"null_text": 5, "blank_text": 1}]})
    assert list(nights.count_rejects(shown).items()) == [("null_text", 5), ("blank_text", 3)]


def test_the_model_page_shows_versions_card_report_and_history(open_page, use_tiny_model):
    page = open_page("model", MODEL_URI="models:/sentiment@champion")
    assert not page.error
    assert metrics(page) == {"Model": "sentiment", "Alias champion": "version 1"}
    assert page.dataframe[0].value["role"].tolist() == ["champion"]
    assert 0 <= page.dataframe[0].value["accuracy"][0] <= 1
    assert any("## Results" in found.value for found in page.markdown)
    (frame,) = page.get("iframe")
    assert "<iframe sandbox title" in frame.proto.srcdoc
    assert "is not set" in next(info.value for info in page.info if "Promotion is off" in info.value)


@pytest.mark.parametrize(
    ("given", "expected"), [(TOKEN, True), ("", False), (TOKEN[:-1], False), ("ä" * 20, False)]
)
def test_only_the_whole_token_is_right(given, expected):
    assert promotions.is_right_token(given, TOKEN) is expected


def test_a_short_token_is_no_secret():
    with pytest.raises(ConfigError, match="16 or more"):
        promotions.is_right_token("x", "x")


def test_what_the_reader_types_stays_one_argument():
    command = promotions.make_promotion(Path("/app"), "models:/a/2", "--dry_run; rm x", "champion", False)
    assert command[:2] == [sys.executable, "/app/jobs/promote.py"]
    assert "--test=--dry_run; rm x" in command
    assert "--dry_run" not in command


@pytest.fixture
def challenger(use_tiny_model):
    """Register the files of the champion again, as version 2; remove it afterwards."""
    from sentiment.models import registry

    client = registry.import_mlflow().MlflowClient()
    source = client.get_model_version("sentiment", "1")
    made = client.create_model_version("sentiment", source.source, source.run_id)
    for key, value in source.tags.items():
        client.set_model_version_tag("sentiment", made.version, key, value)
    yield made.version
    client.delete_model_version("sentiment", made.version)


def test_promotion_needs_the_token_and_goes_through_the_gates(open_page, challenger, tmp_path):
    """With a wrong token nothing runs; with the right one the job judges, and its gates are shown."""
    make_reviews(60).to_parquet(tmp_path / "held_out.parquet")
    page = open_page("model", MODEL_URI="models:/sentiment@champion", ADMIN_TOKEN=TOKEN)
    find(page.text_input, "Token").input("wrong")
    find(page.text_input, "Labelled reviews that neither model was trained on").input("x.parquet")
    page = find(page.button, "Judge and promote").click().run()
    assert [error.value for error in page.error] == ["The token is wrong. Nothing was done."]
    find(page.text_input, "Token").input(TOKEN)
    find(page.text_input, "Labelled reviews that neither model was trained on").input(
        str(tmp_path / "held_out.parquet")
    )
    find(page.checkbox, "Only judge, move nothing").check()
    page = find(page.button, "Judge and promote").click().run(timeout=120)
    assert not page.exception
    gates = page.dataframe[-1].value
    assert {"labels", "accuracy", "mcnemar"} <= set(gates["gate"])
    # The gates of the project ask for more reviews than these, so the job refuses.
    assert "refused by" in page.error[0].value
    assert gates.set_index("gate")["result"]["rows"] == "FAILED"
    # A page that is opened again shows how the promotion ended.
    again = AppTest.from_string("from sentiment.dashboard import app; app.show_page('model')").run(timeout=60)
    assert "refused by" in again.error[0].value
    assert any("Nothing to roll back" in found.value for found in again.info)


def test_a_champion_is_rolled_back_with_the_token(open_page, challenger):
    from sentiment.models import ledger

    moves = ledger.read_ledger("sentiment", "champion")
    ledger.move_alias(moves, challenger, ledger.PROMOTE)
    page = open_page("model", MODEL_URI="models:/sentiment@champion", ADMIN_TOKEN=TOKEN)
    assert any("goes back to version 1" in found.value for found in page.caption)
    find(page.text_input, "Token for the rollback").input(TOKEN)
    page = find(page.button, "Roll back").click().run(timeout=120)
    assert [found.value for found in page.success] == ["models\\:/sentiment/1\\: rolled\\_back"]
    assert ledger.read_ledger("sentiment", "champion").champion == "1"
