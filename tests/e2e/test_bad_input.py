"""Every bad input as a user types it: its exit code, one line, no traceback, nothing left behind."""

import json

import pandas as pd
import pytest

from tests.conftest import make_reviews
from tests.e2e.conftest import run_python


@pytest.fixture
def place(tmp_path):
    """A folder with inputs, good and bad."""
    make_reviews(5).to_parquet(tmp_path / "reviews.parquet")
    make_reviews(5).iloc[:0].to_parquet(tmp_path / "empty.parquet")
    (tmp_path / "text.parquet").write_text("review_id,text\n")
    make_reviews(5, text=range(5)).to_parquet(tmp_path / "numbers.parquet")
    make_reviews(60, label=1).to_parquet(tmp_path / "one_class.parquet")
    (tmp_path / "score.yaml").write_text("modle_uri: x\n")
    return tmp_path


def check_failed(done, code, says, place, before):
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("[")]  # less the progress
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert "Traceback" not in done.stderr + done.stdout
    assert {p for p in place.rglob("*") if "tracking" not in p.parts} == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--input", "{}/none", "--output", "{}/scores"], 3, "no such file"),
        (["--input", "{}/empty.parquet", "--output", "{}/scores"], 3, "has no rows"),
        (["--input", "{}/text.parquet", "--output", "{}/scores"], 3, "not a readable Parquet file"),
        (["--input", "{}/numbers.parquet", "--output", "{}/scores"], 3, "expected strings"),
        (["--input", "{}/reviews.parquet", "--output", "{}/s", "--text_col", "body"], 3, "no column body"),
        (["--input", "{}/reviews.parquet", "--output", "{}/s", "--id_col", "key"], 3, "no column key"),
        (["--input", "{}/reviews.parquet", "--output", "{}/reviews.parquet"], 2, "read as reviews"),
        (["--input", "{}/reviews.parquet", "--output", "{}"], 2, "read as reviews"),
        (["--input", "{}/reviews.parquet"], 2, "output is required"),
        (["--input", "{}/reviews.parquet", "--output", "{}/s", "--conf", "{}/score.yaml"], 2, "'modle_uri'"),
        (["--input", "{}/reviews.parquet", "--output", "{}/s", "--conf", "{}/none.yaml"], 2, "cannot read"),
        (["--input", "{}/reviews.parquet", "--output", "{}/s", "--rows_per_task", "0"], 2, "rows_per_task"),
        (["--input", "{}/reviews.parquet", "--output", "{}/s", "--model_uri", "models:/no/1"], 4, "no model"),
        (["--input", "{}/reviews.parquet", "--output", "s3://b/s"], 2, "object stores"),
    ],
)
def test_scoring(place, tracking, arguments, code, says):
    before = {p for p in place.rglob("*") if "tracking" not in p.parts}
    filled = [argument.format(place) for argument in arguments]
    done = run_python("jobs/score_reviews.py", *filled, "--summary", place / "summary.json")
    check_failed(done, code, says, place, before)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--dataset_name", "{}/one_class.parquet"], 3, "0 negative and 60 positive"),
        (["--dataset_name", "{}/none.csv"], 3, "no such file"),
        (["--dataset_name", "{}/reviews.parquet", "--label_col", "stars"], 3, "no column stars"),
        (["--distilbert_model", "{}"], 4, "holds no encoder"),
        (["--distilbert_model", "no/such-encoder"], 4, "minilm"),
        (["--max_length", "4096"], 2, "reads at most 512"),
        (["--lr", "fast"], 2, "lr: "),
        (["--alias", "latest"], 2, "alias: "),
        (["--text_col", ","], 2, "text_col"),
        (["--summary", "/proc/none/summary.json"], 2, "summary: "),
    ],
)
def test_finetuning(place, tracking, arguments, code, says):
    before = {p for p in place.rglob("*") if "tracking" not in p.parts}
    given = [argument.format(place) for argument in arguments]
    defaults = ["--distilbert_model", "minilm", "--dataset_name", "sample"]
    done = run_python("jobs/finetune.py", *defaults, *given, "--summary", place / "summary.json")
    check_failed(done, code, says, place, before)


def test_rows_without_an_id_are_rejected_and_said(main_job, tmp_path):
    reviews = make_reviews(20)
    reviews.loc[[2, 9], "review_id"] = None
    reviews.to_parquet(tmp_path / "reviews.parquet")
    done = run_python(
        *("jobs/score_reviews.py", "--input", tmp_path / "reviews.parquet", "--output", tmp_path / "scores"),
        *("--summary", tmp_path / "summary.json"),
        MLFLOW_TRACKING_URI=main_job.tracking_uri,
    )
    assert done.returncode == 0, done.stderr
    assert "warning: 2 rows have no review_id: rejected as null_id" in done.stderr.splitlines()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["scored_rows"], summary["rejected_by_reason"]) == (18, {"null_id": 2})
    assert len(pd.read_parquet(tmp_path / "scores")) == 18
