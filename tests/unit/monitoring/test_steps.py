"""Steps are timed, and repeated only after failures that may pass."""

import pytest

from sentiment.errors import (
    BadFilesError,
    ConfigError,
    LostJobError,
    ModelError,
    ObjectStoreError,
    RegistryError,
    StoreError,
)
from sentiment.monitoring.steps import Steps


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
    assert steps.run("plan", fail_with(ObjectStoreError("silent"), LostJobError("lost"))) == "done"
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


@pytest.mark.parametrize(
    "error",
    [
        *(kind("x") for kind in (BadFilesError, ConfigError, ModelError, StoreError, ValueError)),
        KeyboardInterrupt(),
    ],
)
def test_any_other_failure_is_not_repeated(error):
    steps, _, waited = make_steps()
    with pytest.raises(type(error)):
        steps.run("score", fail_with(error))
    assert waited == []
    assert steps.failed.name == "score"
