"""The variables of a launcher decide the part of a process; left-over ones are refused."""

from types import SimpleNamespace

import pytest

from sentiment.config import FinetuneConfig
from sentiment.errors import ConfigError
from sentiment.training import processes, starting
from sentiment.training.processes import check_same, connect


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE: is 2, but no launcher has set RANK, MASTER_ADDR"),
        ({"RANK": "3"}, r"RANK: expected less than 1 \(WORLD_SIZE\), found 3"),
        ({"RANK": "abc"}, "RANK: expected a number from a launcher, found 'abc'"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE: expected a number"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "ACCELERATE_USE_DEEPSPEED: expected no value, found 'true'"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "which this job cannot do; unset it"),
    ],
)
def test_variables_without_their_launcher_are_refused(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        connect()


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_that_read_other_files_end_with_one_error(monkeypatch, rank):
    """Each process trained on the files of its machine, and the result was of neither."""
    ours, theirs = {"reviews": "1a", "class names": "2b"}, {"reviews": "3c", "class names": "2b"}
    monkeypatch.setattr(processes, "_gather", lambda facts: [("a", ours), ("b", theirs)])
    monkeypatch.setenv("RANK", str(rank))
    message = (
        r"^d.csv: process 1 on b has read other files than process 0: expected the digests of process 0 "
        r"\(reviews 1a\), found reviews 3c; put the same files on each machine$"
    )
    with pytest.raises(ConfigError, match=message) as caught:
        check_same("d.csv", ours)
    assert caught.value.is_reported == (rank == 1)


def test_processes_that_read_the_same_go_on(monkeypatch):
    monkeypatch.setattr(processes, "_gather", lambda facts: [facts, ("other machine", facts[1])])
    check_same("d.csv", {"reviews": "1a"})


@pytest.mark.parametrize(
    ("digest", "names", "named"),
    [("b", ("bad", "good"), "reviews a"), ("a", ("bad", "fine"), "class names .*")],
)
def test_reviews_and_class_names_are_compared_between_processes(monkeypatch, digest, names, named):
    theirs = ("other machine", {"reviews": digest, "class names": starting._digest_names(names)})
    monkeypatch.setattr(
        processes, "_gather", lambda value: [value, theirs] if isinstance(value, tuple) else [value]
    )
    ours = SimpleNamespace(digest="a", label_names=("bad", "good"))
    monkeypatch.setattr(starting, "load_labelled_reviews", lambda *_: ours)
    with pytest.raises(ConfigError, match=rf"^dataset_name 'd': .* \({named}\), found") as caught:
        starting.read_reviews(FinetuneConfig(dataset_name="d"), lambda *_: None)
    assert "good" not in str(caught.value)


def test_what_accelerate_sets_for_one_process_is_fine(monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    connect()
