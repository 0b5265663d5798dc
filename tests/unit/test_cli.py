import json
import subprocess
import sys

import pytest

from sentiment import errors
from sentiment.cli import INTERRUPTED, make_table, naming_options, run_job
from sentiment.config import ScoreConfig
from tests.factories import ROOT

ARGUMENTS = ["--input", "reviews", "--output", "scores"]


def show(summary):
    return [make_table("Done", ("", "n"), [("rows [red]", str(summary["rows"]))])]


def run(config, report):
    report("scoring", 1, 2)
    return {"rows": 3, "warnings": ["mind the gap"]}


def call(tmp_path, job, *more, conf="none.yaml"):
    return run_job(ScoreConfig, tmp_path / conf, job, show, [*ARGUMENTS, *more])


def test_a_job_prints_its_table_and_writes_its_summary(tmp_path, capsys):
    path = tmp_path / "deep" / "summary.json"
    assert call(tmp_path, run, "--summary", str(path)) == 0
    assert json.loads(path.read_text())["rows"] == 3
    out, err = capsys.readouterr()
    assert "rows [red]" in out  # data is not markup
    assert "scoring 1/2 (50%)" in err
    assert err.endswith("warning: mind the gap\n")
    assert [p.name for p in path.parent.iterdir()] == ["summary.json"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.SchemaMismatchError("x"), 3),
        (errors.ModelNotFoundError("x"), 4),
        (errors.StoreLockedError("x"), 5),
        (errors.GateError("x"), 6),
        (errors.ScoringError("x"), 1),
        (KeyboardInterrupt(), INTERRUPTED),
    ],
)
def test_an_error_is_its_exit_code_and_one_line(tmp_path, capsys, error, code):
    def fail(config, report):
        raise error

    summary = tmp_path / "summary.json"
    summary.write_text("{}")
    assert call(tmp_path, fail, "--summary", str(summary)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    # The summary of an earlier run would be taken for this one's.
    found = json.loads(summary.read_text()) if summary.exists() else None
    assert found == ({"error_type": type(error).__name__} if isinstance(error, Exception) else None)


def test_an_unforeseen_error_is_one_line_without_its_message(tmp_path, capsys):
    def fail(config, report):
        raise RuntimeError("a secret review")

    assert call(tmp_path, fail, "--summary", str(tmp_path / "new" / "summary.json")) == 1
    assert json.loads((tmp_path / "new" / "summary.json").read_text()) == {"error_type": "RuntimeError"}
    err = capsys.readouterr().err
    assert err == "error: unexpected RuntimeError; run again with --debug to see where\n"


def test_debug_shows_the_traceback(tmp_path, capsys):
    def fail(config, report):
        raise errors.ScoringError("x")

    assert call(tmp_path, fail, "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_unknown_argument_is_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        call(tmp_path, run, "--modeluri", "x")
    assert caught.value.code == 2
    assert "--modeluri" in capsys.readouterr().err


def test_an_unknown_config_key_is_exit_code_2(tmp_path, capsys):
    (tmp_path / "job.yaml").write_text("model: x\n")
    assert call(tmp_path, run, conf="job.yaml") == 2
    assert "unknown key 'model'" in capsys.readouterr().err


@pytest.mark.parametrize("job", ["finetune", "score_reviews"])
def test_help_names_every_argument_and_the_exit_codes(job):
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{job}.py"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--text_col" in done.stdout
    assert "--summary" in done.stdout
    assert "Exit codes" in done.stdout


def test_a_summary_that_cannot_be_written_is_said_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    ran = []
    code = call(tmp_path, lambda *_: ran.append(1), "--summary", str(tmp_path / "file" / "summary.json"))
    assert (code, ran) == (2, [])
    assert capsys.readouterr().err.startswith("error: summary: cannot write")


def test_an_interrupted_run_leaves_no_folder_for_its_summary(tmp_path):
    def fail(config, report):
        raise KeyboardInterrupt

    code = call(tmp_path, fail, "--summary", str(tmp_path / "new" / "deep" / "summary.json"))
    assert code == INTERRUPTED
    assert not (tmp_path / "new").exists()


def test_an_error_after_part_of_the_work_still_gives_summary_and_table(tmp_path, capsys):
    def fail(config, report):
        raise errors.BadFilesError("1 of 2 files", {"rows": 3, "warnings": []})

    path = tmp_path / "summary.json"
    assert call(tmp_path, fail, "--summary", str(path)) == 3
    assert json.loads(path.read_text()) == {"rows": 3, "warnings": [], "error_type": "BadFilesError"}
    out, err = capsys.readouterr()
    assert "rows [red]" in out
    assert err == "error: 1 of 2 files\n"


@pytest.mark.parametrize(
    ("given", "expected"), [([], False), (["--dry_run"], True), (["--dry_run", "false"], False)]
)
def test_a_switch_stands_alone_or_has_a_value(tmp_path, given, expected):
    seen = []
    assert call(tmp_path, lambda config, _: seen.append(config.dry_run) or {"rows": 0}, *given) == 0
    assert seen == [expected]


@pytest.mark.parametrize("given", [["--since", "2026-01-01"], ["--date_col", "day", "--until", "soon"]])
def test_dates_that_mean_nothing_are_exit_code_2(tmp_path, capsys, given):
    assert call(tmp_path, run, *given) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("pass another --model_uri", "pass another --challenger"),
        ("use `x.py --model_uri URI`, or --model_uri", "use `x.py --model_uri URI`, or --challenger"),
        ("use jobs/x.py --model_uri; see --model_uri", "use jobs/x.py --model_uri; see --challenger"),
    ],
)
def test_errors_of_shared_modules_name_the_options_of_the_job(message, named):
    with pytest.raises(errors.ModelNotFoundError) as caught, naming_options({"--model_uri": "--challenger"}):
        raise errors.ModelNotFoundError(message, {"rows": 1})
    assert named in str(caught.value)
    assert caught.value.summary == {"rows": 1}
