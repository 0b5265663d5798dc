"""jobs/nightly.sh in a tree of its own, with a nightly.py that only notes how it was called."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment.tables import jvm

HOME = Path(__file__).resolve().parents[3]
SUMMARY = {
    "input_rows": 3,
    "scored_rows": 2,
    "rejected_rows": 1,
    "skipped_rows": 0,
    "rejected_by_reason": {"null_text": 1},
    "labels": {"positive": 1, "negative": 1},
    "label_names": ["negative", "positive"],
    "rows_per_second": 10.0,
    "seconds": 1.0,
    "model_version": "1",
    "batch": "/scores/model=1/batch=a",
}
NIGHTLY = """
import os, pathlib, sys
calls = pathlib.Path(os.environ["CALLS"])
calls.write_text("\\n".join(sys.argv))
calls.with_suffix(".tracking").write_text(os.environ.get("MLFLOW_TRACKING_URI", "unset"))
calls.with_suffix(".locale").write_text(os.environ.get("LC_ALL", "unset"))
calls.with_suffix(".java").write_text(os.environ.get("SPARK_SUBMIT_OPTS", "unset"))
if summary := os.environ["FAKE_SUMMARY"]:
    pathlib.Path(sys.argv[-1]).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(sys.argv[-1]).write_text(summary)
sys.exit(int(os.environ.get("FAKE_CODE", "0")))
"""
JAVA = "#!/bin/sh\necho 'openjdk version \"{}\" 2025-04-15' >&2\n"


class Tree:
    """A repository with only the script, and what a run of it did."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a repository"
        self.calls = folder / "calls"
        self.bin = folder / "bin"
        (self.root / "jobs").mkdir(parents=True)
        shutil.copy(HOME / "jobs" / "nightly.sh", self.root / "jobs")
        (self.root / "jobs" / "nightly.py").write_text(NIGHTLY)
        write_executable(self.bin / "java", JAVA.format("17.0.15"))
        write_executable(self.bin / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the script from another folder, with no more environment than what is given."""
        defaults = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PYTHONPATH": str(HOME),
            "CALLS": str(self.calls),
            "FAKE_SUMMARY": json.dumps(SUMMARY),
        }
        return subprocess.run(
            [str(self.root / "jobs" / "nightly.sh"), *arguments],
            cwd=self.root.parent,
            env=defaults | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called_with(self) -> list[str]:
        return self.calls.read_text().splitlines()

    @property
    def stats(self) -> Path:
        return self.root / "dominostats.json"


def write_executable(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


PATHS = {"REVIEWS_INPUT": "/in/new reviews", "SCORES_OUTPUT": "/out"}


def test_committed_script_is_executable() -> None:
    assert os.access(HOME / "jobs" / "nightly.sh", os.X_OK)


def test_run_scores_and_writes_stats_in_the_root(tree: Tree) -> None:
    done = tree.run(**PATHS)

    assert (done.returncode, done.stderr) == (0, "")
    assert tree.called_with() == [
        "jobs/nightly.py",
        *("--input", "/in/new reviews"),
        *("--output", "/out"),
        *("--summary", "var/nightly/score.json"),
    ]
    assert json.loads((tree.root / "var/nightly/score.json").read_text()) == SUMMARY
    assert json.loads(tree.stats.read_text())["scored rows"] == 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, jvm.OPTIONS), ({"SPARK_SUBMIT_OPTS": "-Dour=own"}, f"{jvm.OPTIONS} -Dour=own")],
)
def test_jvm_gets_the_sessions_options_before_those_that_are_set(
    given: dict[str, str], expected: str, tree: Tree
) -> None:
    tree.run(**PATHS, **given)

    assert tree.calls.with_suffix(".java").read_text() == expected


def test_no_option_of_the_jvm_is_written_twice() -> None:
    texts = [
        path.read_text()
        for pattern in ("jobs/*", "sentiment/**/*.py", "Makefile", "*.sh")
        for path in HOME.glob(pattern)
        if path.is_file()
    ]
    assert {option: sum(option in text for text in texts) for option in jvm.OPTIONS.split()} == dict.fromkeys(
        jvm.OPTIONS.split(), 1
    )


def test_the_options_are_printed_without_starting_spark() -> None:
    code = (
        "import runpy, sys; runpy.run_module('sentiment.tables.jvm', run_name='__main__'); "
        "assert 'pyspark' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOME)
    assert done.stdout == f"{jvm.OPTIONS}\n"


def test_further_arguments_come_after_the_paths_and_stay_whole(tree: Tree) -> None:
    tree.run("--text_col", "title, content", "--rows_per_task", "5", **PATHS)

    assert tree.called_with()[5:] == [
        *("--text_col", "title, content"),
        *("--rows_per_task", "5"),
        *("--summary", "var/nightly/score.json"),
    ]


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"DOMINO_DATASETS_DIR": "/my/datasets", "DOMINO_IS_GIT_BASED": "true"}, "/my/datasets"),
        ({"DOMINO_IS_GIT_BASED": "true"}, "/mnt/data"),
        ({"DOMINO_IS_GIT_BASED": "false"}, "/domino/datasets/local"),
        ({}, "/domino/datasets/local"),
    ],
)
def test_on_domino_the_paths_are_in_the_projects_data_set(
    environment: dict[str, str], folder: str, tree: Tree
) -> None:
    tree.run(DOMINO_PROJECT_NAME="shop", **environment)

    assert tree.called_with()[1:5] == [
        "--input",
        f"{folder}/shop/reviews",
        "--output",
        f"{folder}/shop/scores",
    ]


def test_given_path_wins_over_the_data_set(tree: Tree) -> None:
    tree.run(DOMINO_PROJECT_NAME="shop", DOMINO_DATASETS_DIR="/d", REVIEWS_INPUT="/in")

    assert tree.called_with()[1:5] == ["--input", "/in", "--output", "/d/shop/scores"]


def test_on_domino_summary_and_stats_go_where_it_looks(tree: Tree, tmp_path: Path) -> None:
    working = tmp_path / "working"
    working.mkdir()

    tree.run(**PATHS, DOMINO_ARTIFACTS_DIR=str(tmp_path / "artifacts"), DOMINO_WORKING_DIR=str(working))

    assert tree.called_with()[-1] == str(tmp_path / "artifacts/nightly/score.json")
    assert json.loads((working / "dominostats.json").read_text())["model version"] == "1"
    assert not tree.stats.exists()


@pytest.mark.parametrize("given", [{}, {"REVIEWS_INPUT": "/in"}, {"SCORES_OUTPUT": "/out"}])
def test_unknown_paths_end_with_2_before_anything_runs(given: dict[str, str], tree: Tree) -> None:
    tree.stats.write_text("old")

    done = tree.run(**given)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not tree.calls.exists()
    assert not tree.stats.exists()


@pytest.mark.parametrize("code", ["1", "3", "4", "5", "130"])
def test_exit_code_is_the_jobs_and_no_old_figures_stay(code: str, tree: Tree) -> None:
    assert tree.run(**PATHS).returncode == 0
    assert tree.stats.exists()

    done = tree.run(**PATHS, FAKE_CODE=code, FAKE_SUMMARY="")

    assert done.returncode == int(code)
    assert not tree.stats.exists()
    assert not (tree.root / "var/nightly/score.json").exists()


def test_scored_run_whose_stats_cannot_be_written_succeeds_with_a_warning(tree: Tree) -> None:
    done = tree.run(**PATHS, FAKE_SUMMARY="not JSON")

    assert done.returncode == 0
    assert "warning: the reviews are scored" in done.stderr
    assert not tree.stats.exists()


def test_virtual_environment_of_the_repository_wins(tree: Tree) -> None:
    marker = f'#!/bin/sh\necho "$0" >"$CALLS.from"\nexec "{sys.executable}" "$@"\n'
    write_executable(tree.root / ".venv/bin/python3", marker)

    assert tree.run(**PATHS).returncode == 0

    used = Path(f"{tree.calls}.from").read_text().strip()
    assert used == str(tree.root / ".venv/bin/python3")


@pytest.mark.parametrize(
    ("environment", "seen"), [({}, "unset"), ({"MLFLOW_TRACKING_URI": "http://preset"}, "http://preset")]
)
def test_tracking_uri_stays_what_it_is(environment: dict[str, str], seen: str, tree: Tree) -> None:
    tree.run(**PATHS, **environment)

    assert Path(f"{tree.calls}.tracking").read_text() == seen


@pytest.mark.parametrize("given", [{}, {"LC_ALL": "C"}, {"LANG": "POSIX"}])
def test_paths_keep_their_letters_without_a_locale(given: dict[str, str], tree: Tree) -> None:
    paths = {"REVIEWS_INPUT": "/Größe/neu", "SCORES_OUTPUT": "/评分"}

    tree.run(**paths, **given)

    assert tree.called_with()[2:5:2] == ["/Größe/neu", "/评分"]
    assert Path(f"{tree.calls}.locale").read_text() == "C.UTF-8"


def test_a_locale_of_utf_8_stays(tree: Tree) -> None:
    tree.run(**PATHS, LANG="C.UTF-8")

    assert Path(f"{tree.calls}.locale").read_text() == "unset"


def test_folder_for_temporary_files_is_javas_too(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()

    tree.run(**PATHS, TMPDIR=str(folder))

    assert tree.calls.with_suffix(".java").read_text() == f'{jvm.OPTIONS} -Djava.io.tmpdir="{folder}"'


@pytest.mark.parametrize(
    ("commands", "given", "words"),
    [
        ({"java": JAVA.format("1.8.0_412")}, {}, "Java 17 or newer, found 1 ("),
        ({"java": "#!/bin/sh\nexit 127\n"}, {}, "Java 17 or newer, found none ("),
        ({}, {"JAVA_HOME": "/nowhere"}, "found none (/nowhere/bin/java)"),
        ({"python3": "#!/bin/sh\nexit 1\n"}, {}, "lacks pyspark"),
        ({"getent": "#!/bin/sh\nexit 2\n"}, {}, "has no entry in /etc/passwd"),
        ({}, {"SPARK_REMOTE": "sc://host"}, "SPARK_REMOTE is set"),
        ({}, {"TMPDIR": "/nowhere"}, "cannot write to /nowhere; set TMPDIR"),
        ({}, {"DOMINO_ARTIFACTS_DIR": "/dev/null"}, "set DOMINO_ARTIFACTS_DIR"),
    ],
)
def test_what_the_machine_lacks_is_one_line_before_spark(
    commands: dict[str, str], given: dict[str, str], words: str, tree: Tree
) -> None:
    for name, content in commands.items():
        write_executable(tree.bin / name, content)

    done = tree.run(**PATHS, **given)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert not tree.calls.exists()
