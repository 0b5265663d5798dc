"""Steps are timed, and repeated only after failures that may pass."""

import sys

import pytest

from sentiment.errors import ConfigError, InputError, ModelError, RegistryError, ScoringError
from sentiment.monitoring.scoring_process import run_scoring
from sentiment.monitoring.steps import PassingError, Steps


def make_steps(**options):
    told, waited = [], []
    times = iter(range(100))
    steps = Steps(told.append, waits=(5, 20), pause=waited.append, clock=lambda: next(times), **options)
    return steps, told, waited


def fail_with(*errors):
    left = list(errors)

    def work():
        if left:
            raise left.pop(0)
        return "done"

    return work


def test_a_passing_failure_is_repeated_with_growing_waits():
    steps, told, waited = make_steps()
    assert steps.run("plan", fail_with(RegistryError("silent"), PassingError("lost", 1))) == "done"
    assert [5 <= waited[0] <= 6, 20 <= waited[1] <= 24] == [True, True]
    assert told[0] == "step plan failed, next try in 5 s: silent"
    [record] = steps.records
    assert (record.name, record.tries, record.failure, record.seconds) == ("plan", 3, None, 1)


def test_tries_end():
    steps, _, waited = make_steps()
    with pytest.raises(RegistryError, match="third"):
        steps.run("plan", fail_with(*map(RegistryError, ("first", "second", "third"))))
    assert len(waited) == 2
    assert (steps.failed.name, steps.failed.failure) == ("plan", "third")


@pytest.mark.parametrize("error", [ConfigError("x"), ValueError("x"), KeyboardInterrupt()])
def test_any_other_failure_is_not_repeated(error):
    steps, _, waited = make_steps()
    with pytest.raises(type(error)):
        steps.run("score", fail_with(error))
    assert waited == []
    assert steps.failed.name == "score"


def run_script(tmp_path, script, summary=None):
    told = []
    code = f"import pathlib, sys, json; {script}"
    path = tmp_path / "summary.json"
    try:
        return run_scoring(
            [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {code}"], path, told.append
        ), told
    except Exception as error:
        error.told = told
        raise


def test_the_summary_of_the_process_comes_back_with_its_lines(tmp_path):
    script = "print('w', file=sys.stderr); pathlib.Path('summary.json').write_text(json.dumps({'a': 1}))"
    assert run_script(tmp_path, script) == ({"a": 1}, ["w"])


@pytest.mark.parametrize(
    ("code", "error"),
    [(1, PassingError), (2, ConfigError), (3, InputError), (4, ModelError), (5, PassingError)],
)
def test_an_exit_code_is_the_error_it_stands_for(code, error, tmp_path):
    with pytest.raises(error, match="^what is wrong$") as raised:
        run_script(tmp_path, f"print('error: what is wrong', file=sys.stderr); sys.exit({code})")
    assert raised.value.exit_code == code
    assert raised.value.summary is None


def test_a_process_that_did_part_of_its_work_leaves_its_summary(tmp_path):
    script = "pathlib.Path('summary.json').write_text(json.dumps({'a': 1})); sys.exit(3)"
    with pytest.raises(InputError, match="gave no reason") as raised:
        run_script(tmp_path, script)
    assert raised.value.summary == {"a": 1}


def test_a_killed_process_may_succeed_the_next_time_and_old_summaries_do_not_count(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(PassingError, match="exit code -9") as raised:
        run_script(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert (raised.value.exit_code, raised.value.summary) == (1, None)


def test_success_without_a_summary_is_an_error(tmp_path):
    with pytest.raises(ScoringError, match="wrote no summary"):
        run_script(tmp_path, "pass")
