"""Every bad input as a user types it: its exit code, one line, no traceback, nothing left behind."""

import json
import runpy
import sys

import pytest

from sentiment import errors
from tests.e2e.conftest import BIN, run_command
from tests.factories import ROOT, make_reviews


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


@pytest.fixture
def run_job_file(monkeypatch, capfd):
    """Runs a job's file as a command does, in this process: returns exit code and stderr."""

    def run(job, *arguments):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [job, *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(job, run_name="__main__")
        out, err = capfd.readouterr()
        assert out == ""
        return stopped.value.code, err

    return run


def list_files(place):
    return {p for p in place.rglob("*") if "tracking" not in p.parts}


def check_failed(found, code, says):
    found_code, err = found
    assert found_code == code, err
    lines = [line for line in err.splitlines() if not line.startswith("[")]  # less the progress
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert "Traceback" not in err


def check_summary(path):
    """Check that the summary of a run that did nothing has the class of its error only, and remove it."""
    summary = json.loads(path.read_text())
    assert summary.keys() == {"error_type"}
    assert issubclass(getattr(errors, summary["error_type"]), errors.SentimentError)
    path.unlink()


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
        (["--input", "{}/reviews.parquet", "--output", "hdfs://b/s"], 2, "is not supported"),
        (["--input", "{}/reviews.parquet", "--output", "s3://b/s"], 3, "credentials"),
    ],
)
def test_scoring(place, tracking, run_job_file, arguments, code, says):
    before = list_files(place)
    filled = [argument.format(place) for argument in arguments]
    found = run_job_file("jobs/score_reviews.py", *filled, "--summary", place / "summary.json")
    check_failed(found, code, says)
    check_summary(place / "summary.json")
    assert list_files(place) == before


def test_as_a_user_sees_it(place, tracking):
    """Check the last lines of spark-submit, which prints its own lines first."""
    before = list_files(place)
    done = run_command(
        *(BIN / "spark-submit", "jobs/score_reviews.py"),
        *("--input", place / "numbers.parquet", "--output", place / "scores"),
    )
    assert done.returncode == 3
    ours = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(ours) == 1
    assert f"{place}/numbers.parquet: column text holds int64, expected strings" in ours[0]
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert list_files(place) == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--dataset_name", "{}/one_class.parquet"], 3, "0 negative and 60 positive"),
        (["--dataset_name", "{}/none.csv"], 3, "no such file"),
        (["--dataset_name", "{}/reviews.parquet", "--label_col", "stars"], 3, "no column stars"),
        (["--distilbert_model", "{}"], 4, "has no encoder"),
        (["--distilbert_model", "no/such-encoder"], 4, "minilm"),
        (["--max_length", "4096"], 2, "reads at most 512"),
        (["--lr", "fast"], 2, "lr: "),
        (["--alias", "latest"], 2, "alias: "),
        (["--text_col", ","], 2, "text_col"),
        (["--summary", "/proc/none/summary.json"], 2, "summary: "),
    ],
)
def test_finetuning(place, tracking, run_job_file, arguments, code, says):
    before = list_files(place)
    given = [argument.format(place) for argument in arguments]
    defaults = ["--distilbert_model", "minilm", "--dataset_name", "sample"]
    found = run_job_file("jobs/finetune.py", *defaults, "--summary", place / "summary.json", *given)
    check_failed(found, code, says)
    if says != "summary: ":
        check_summary(place / "summary.json")
    assert list_files(place) == before
