"""The variables of a launcher decide the part of a process; left-over ones are refused."""

import pytest

from sentiment.errors import ConfigError
from sentiment.training.processes import connect


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


def test_what_accelerate_sets_for_one_process_is_fine(monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    connect()
