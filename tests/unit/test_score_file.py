"""jobs/score_file.py, as Domino's launcher runs it."""

import json

import pyarrow as pa
import pytest

from jobs import score_file
from tests.factories import CANARY, ROOT


@pytest.fixture(autouse=True)
def _in_a_folder(use_tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("SENTIMENT_MODEL_URI", use_tiny_model.uri)
    monkeypatch.chdir(tmp_path)


def test_a_file_is_scored_and_the_email_counts_its_rows(tmp_path, capsys):
    (tmp_path / "my.csv").write_text(f'id,text\n007,great {CANARY}\n008,"awful, battery"\n009,\n')
    assert score_file.main(["my.csv", "--text_col="]) == 0
    scored = (tmp_path / "results" / "my.scored.csv").read_text().splitlines()
    assert scored[0].startswith('"id","text","label","score"')
    assert [line.split(",")[0] for line in scored[1:]] == ['"007"', '"008"', '"009"']
    page = (tmp_path / "email.html").read_text()
    assert "rejected: blank_text" in page
    assert CANARY not in page + capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "arguments", "code", "words"),
    [
        ("a,b\nx,y\n", [], 3, "--text_col"),
        ("text\ngreat\n", ["--text_col", "review"], 3, "--text_col"),
        (None, [], 3, "cannot be read"),
    ],
)
def test_what_cannot_be_scored_is_one_line(tmp_path, capsys, content, arguments, code, words):
    if content is not None:
        (tmp_path / "my.csv").write_text(content)
    assert score_file.main(["my.csv", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "email.html").exists()


def test_an_unexpected_error_is_one_line_without_its_message(tmp_path, capsys, monkeypatch):
    def fail(*arguments):
        raise pa.ArrowInvalid(f"could not convert {CANARY}")

    monkeypatch.setattr("sentiment.dashboard.downloads.write_csv", fail)
    (tmp_path / "my.csv").write_text("text\ngreat\n")
    assert score_file.main(["my.csv"]) == 1
    assert capsys.readouterr().err == "error: unexpected ArrowInvalid\n"


def test_the_launcher_runs_a_script_that_takes_its_parameters():
    launcher = json.loads((ROOT / "template_definition" / "launcher.json").read_text())
    script, *arguments = launcher["command"].split()
    assert (ROOT / script).exists()
    assert arguments == ["${file}", "--text_col=${text_column}"]
    assert [parameter["name"] for parameter in launcher["parameters"]] == ["file", "text_column"]
