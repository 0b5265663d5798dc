"""The schedulers' examples in docs/nightly.md are valid, and run where the scheduler is installed."""

import datetime
import importlib.util
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest

from tests.factories import ROOT

PAGE = (ROOT / "docs" / "nightly.md").read_text()


def find_example(language, name):
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    [block] = [block for block in blocks if name in block.splitlines()[0]]
    return block


def test_cron():
    *settings, job = find_example("cron", "SHELL").splitlines()
    assert all(re.fullmatch(r"[A-Z_]+=\S+", line) for line in settings)
    script = (ROOT / "jobs" / "nightly.sh").read_text()
    names = {line.partition("=")[0] for line in settings} - {"SHELL", "CRON_TZ"}
    known = script + (ROOT / "jobs" / "nightly.py").read_text()
    assert [name for name in names if name not in known] == []
    minute, hour, *days, command = job.split(maxsplit=5)
    assert (int(minute), int(hour), days) == (0, 2, ["*", "*", "*"])
    assert Path(shlex.split(command)[0]).relative_to("/opt/sentiment").as_posix() == "jobs/nightly.sh"


@pytest.mark.parametrize("name", ["airflow", "dagster"])
def test_python_examples_compile_and_are_short(name):
    example = find_example("python", name)
    compile(example, name, "exec")
    assert len([line for line in example.splitlines() if line.strip()]) <= 12


def test_airflow_scores_the_day_before_the_run_as_dagster_does():
    """At 2 o'clock most rows of the run's own day are not there; no later run would score them."""
    command = re.search(r'bash_command="(.*)",', find_example("python", "airflow"))[1]

    def add(ds, days):
        return (datetime.date.fromisoformat(ds) + datetime.timedelta(days=days)).isoformat()

    rendered = jinja2.Template(command).render(ds="2026-02-01", macros=SimpleNamespace(ds_add=add))
    assert shlex.split(rendered) == [
        *("/opt/sentiment/jobs/nightly.sh", "--date", "2026-01-31", "--date_col", "day")
    ]


def test_airflow_finds_the_task():
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("airflow is not installed: its example was only compiled")
    found = {}
    exec(compile(find_example("python", "airflow"), "airflow", "exec"), found)
    [task] = found["dag"].tasks
    assert (task.task_id, task.append_env) == ("nightly", True)
    assert task.bash_command.startswith("/opt/sentiment/jobs/nightly.sh --date {{ macros.ds_add(ds, -1) }}")


def test_dagster_runs_the_asset():
    if importlib.util.find_spec("dagster") is None:
        pytest.skip("dagster is not installed: its example was only compiled")
    import dagster

    calls, found = [], {}
    exec(compile(find_example("python", "dagster"), "dagster", "exec"), found)
    found["subprocess"] = SimpleNamespace(run=lambda command, check: calls.append((command, check)))
    assert dagster.materialize([found["scored_reviews"]], partition_key="2026-01-31").success
    assert calls == [(["/opt/sentiment/jobs/nightly.sh", "--date", "2026-01-31", "--date_col", "day"], True)]
    defined = dagster.Definitions(assets=[found["scored_reviews"]], schedules=[found["nightly"]])
    assert defined.get_repository_def().schedule_defs[0].cron_schedule == "0 2 * * *"
