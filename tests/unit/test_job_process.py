"""A job that runs as a process of its own gives its summary back, or its error."""

import sys

import pytest

from sentiment import errors
from sentiment.job_process import run_job_process, start_job


def run_script(tmp_path, script):
    told = []
    code = (
        "import json, os, pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1].removeprefix('--summary='))\n"
        "def write(**summary): path.write_text(json.dumps(summary))\n"
        f"{script}"
    )
    return run_job_process([sys.executable, "-c", code], tmp_path, told.append), told


def test_the_summary_of_the_process_comes_back_with_its_lines(tmp_path):
    assert run_script(tmp_path, "print('w', file=sys.stderr); write(a=1)") == ({"a": 1}, ["w"])


@pytest.mark.parametrize(
    "kind",
    ["ConfigError", "BadFilesError", "ObjectStoreError", "RegistryError", "StoreLockedError", "StoreError"],
)
def test_an_error_comes_back_with_its_class_which_its_exit_code_does_not_tell(kind, tmp_path):
    code = getattr(errors, kind).exit_code
    script = (
        f"write(a=1, error_type={kind!r}); print('error: it is wrong', file=sys.stderr); sys.exit({code})"
    )
    with pytest.raises(errors.SentimentError, match="^it is wrong$") as raised:
        run_script(tmp_path, script)
    assert type(raised.value).__name__ == kind
    assert raised.value.summary == {"a": 1}


def test_an_unforeseen_error_is_none_that_may_pass(tmp_path):
    with pytest.raises(errors.SentimentError, match="gave no reason") as raised:
        run_script(tmp_path, "write(error_type='KeyError'); sys.exit(1)")
    assert type(raised.value) is errors.SentimentError
    assert raised.value.summary is None


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("os.kill(os.getpid(), 9)", "-9"),
        # A JVM without memory ends so.
        ("sys.exit(3)", "3"),
        ("write(error_type='ScoringError'); sys.exit(137)", "137"),
    ],
)
def test_a_job_that_was_lost_may_succeed_the_next_time_and_old_summaries_do_not_count(script, code, tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(errors.LostJobError, match=f"exit code {code}"):
        run_script(tmp_path, script)


def test_wrong_arguments_are_wrong_the_next_time(tmp_path):
    with pytest.raises(errors.ConfigError):
        run_script(tmp_path, "sys.exit(2)")


def test_success_without_a_summary_is_an_error(tmp_path):
    with pytest.raises(errors.ScoringError, match="wrote no summary"):
        run_script(tmp_path, "pass")


def test_a_detached_job_goes_on_when_nobody_reads_and_can_be_followed_later(tmp_path):
    """A reader who closes the page closes what the job writes to, if that is a pipe of the page."""
    (tmp_path / "go").touch()
    code = (
        "import os, pathlib, sys, time\n"
        "print('one', file=sys.stderr, flush=True)\n"
        f"while pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
        "print('two', file=sys.stderr, flush=True)\n"
        "pathlib.Path(sys.argv[1].removeprefix('--summary=')).write_text('{\"sid\": %d}' % os.getsid(0))\n"
    )
    job = start_job([sys.executable, "-c", code], tmp_path, is_detached=True)
    lines = job.follow()
    assert next(lines) == "one"
    lines.close()
    (tmp_path / "go").unlink()
    assert list(job.follow()) == ["one", "two"]
    assert job.finish() == {"sid": job.process.pid}
