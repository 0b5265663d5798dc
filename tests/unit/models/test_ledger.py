"""Moves of an alias by several processes: the order of the ledger decides."""

import multiprocessing

import pytest

from sentiment.errors import AliasMovedError, ModelNotFoundError
from sentiment.models import ledger, registry
from sentiment.models.moves import Entry, Move, find_valid, read_entry
from tests.factories import using_store

pytestmark = pytest.mark.slow


def make_entry(number, follows, after="9", before=None, kind=ledger.PROMOTE):
    return Entry(number, Move("champion", before, after, kind, follows, f"token-{number}"), True)


@pytest.mark.parametrize(
    ("follows", "valid"),
    [
        ([], []),
        ([0, 1, 2], [1, 2, 3]),
        ([0, 0, 0], [1]),  # three began at once
        ([0, 1, 1, 2, 3], [1, 2, 4]),  # the second of entry 1 lost; 5 follows a loser
        ([7], []),  # follows an entry that was removed
    ],
)
def test_of_entries_that_follow_the_same_one_the_first_is_valid(follows, valid):
    entries = [make_entry(number, place) for number, place in enumerate(follows, 1)]
    assert [entry.number for entry in find_valid(reversed(entries))] == valid


def test_an_entry_is_read_as_it_was_written():
    move = Move("champion", None, "3", ledger.PROMOTE, 0, "t")
    assert read_entry(1, move.as_tags()) == Entry(1, move, False)
    assert read_entry(1, {"other": "tag"}) is None


@pytest.fixture
def name(shared_store, request):
    """A registered model with five versions, which have no files."""
    with using_store(shared_store):
        client = registry.import_mlflow().MlflowClient()
        client.create_registered_model(request.node.name)
        for i in range(5):
            client.create_model_version(request.node.name, f"s3://bucket/{i}", await_creation_for=0)
        yield request.node.name


def read(name):
    return ledger.read_ledger(name, "champion")


def test_moves_are_kept_in_order_and_by_alias(name):
    ledger.move_alias(read(name), "1")
    ledger.move_alias(read(name), "2")
    ledger.move_alias(ledger.read_ledger(name, "shadow"), "3")
    found = read(name)
    assert found.champion == "2"
    assert [(e.move.before, e.move.after, e.is_done) for e in found.entries] == [
        (None, "1", True),
        ("1", "2", True),
    ]


def test_a_move_that_comes_second_loses(name):
    stale = read(name)
    ledger.move_alias(read(name), "1")
    with pytest.raises(AliasMovedError, match="meant no version when this run began, and it means version 1"):
        ledger.move_alias(stale, "2")
    assert read(name).champion == "1"


def test_a_move_loses_to_one_that_is_in_the_ledger_but_not_done(name):
    stale = read(name)
    ledger._append(name, Move("champion", None, "1", ledger.PROMOTE, 0, "other"))
    with pytest.raises(AliasMovedError, match="another promote moves it to version 1"):
        ledger.move_alias(stale, "2")
    assert read(name).champion is None


def test_a_move_there_and_back_is_noticed(name):
    ledger.move_alias(read(name), "1")
    stale = read(name)
    ledger.move_alias(read(name), "2")
    ledger.move_alias(read(name), "1", ledger.ROLLBACK)
    with pytest.raises(AliasMovedError, match="another promote moves it to version 2"):
        ledger.move_alias(stale, "3")
    assert read(name).champion == "1"


def test_the_move_of_a_killed_process_is_finished(name):
    ledger._append(name, Move("champion", None, "1", ledger.PROMOTE, 0, "killed"))
    assert read(name).champion is None
    assert ledger.settle(read(name)).champion == "1"
    assert read(name).entries[-1].is_done


def test_the_move_of_a_killed_process_does_not_undo_that_of_another_tool(name):
    ledger._append(name, Move("champion", None, "1", ledger.PROMOTE, 0, "killed"))
    registry.set_alias(name, "champion", "5")
    assert ledger.settle(read(name)).champion == "5"


def test_a_process_that_slept_before_its_move_does_not_undo_a_newer_one(name):
    ledger._append(name, Move("champion", None, "1", ledger.PROMOTE, 0, "slow"))
    slow = read(name)
    ledger.move_alias(ledger.settle(read(name)), "2")
    ledger._apply(slow, slow.entries[-1])
    assert read(name).champion == "2"


def test_a_skipped_move_is_not_a_champion_that_a_rollback_restores(name):
    ledger.move_alias(read(name), "1")
    ledger._append(name, Move("champion", "1", "2", ledger.PROMOTE, 1, "killed"))
    registry.set_alias(name, "champion", "4")
    settled = ledger.settle(read(name))
    assert "was to move from version 1 to version 2, but means version 4, set by another" in settled.settled
    assert [(entry.is_done, entry.is_skipped) for entry in settled.entries] == [(True, False), (True, True)]
    ledger.move_alias(settled, "5")
    for version in "41":
        assert ledger.find_champion_before(read(name)) == version
        ledger.move_alias(read(name), version, ledger.ROLLBACK)
    with pytest.raises(ModelNotFoundError, match="version 1 was the first champion"):
        ledger.find_champion_before(read(name))


def test_the_move_of_a_killed_process_to_a_version_that_was_deleted_is_skipped(name):
    ledger.move_alias(read(name), "1")
    ledger._append(name, Move("champion", "1", "2", ledger.PROMOTE, 1, "killed"))
    registry.import_mlflow().MlflowClient().delete_model_version(name, "2")
    settled = ledger.settle(read(name))
    assert "version 2, to which it was to move alias 'champion', was deleted" in settled.settled
    assert (settled.champion, settled.entries[-1].is_skipped) == ("1", True)


def test_a_skipped_first_move_leaves_the_champion_before_it_known():
    skipped = Entry(1, Move("champion", "1", "2", ledger.PROMOTE, 0, "t"), True, True)
    moves = ledger.Ledger("m", "champion", (skipped, make_entry(2, 1, "6", "5")), "6")
    assert ledger.find_champion_before(moves) == "5"
    moves = ledger.Ledger("m", "champion", (*moves.entries, make_entry(3, 2, "5", "6", ledger.ROLLBACK)), "5")
    assert ledger.find_champion_before(moves) == "1"


def test_the_first_promotion_of_a_killed_process_is_no_deleted_alias(name):
    ledger._append(name, Move("champion", None, "1", ledger.PROMOTE, 0, "killed"))
    ledger.check_champion(read(name))
    ledger.settle(read(name))
    registry.import_mlflow().MlflowClient().delete_registered_model_alias(name, "champion")
    with pytest.raises(ModelNotFoundError, match="expected version 1, the champion by the ledger"):
        ledger.check_champion(read(name))


def test_a_slow_promotion_does_not_undo_the_rollback_that_undid_it(name):
    ledger.move_alias(read(name), "1")
    ledger._append(name, Move("champion", "1", "2", ledger.PROMOTE, 1, "slow"))
    slow = read(name)
    ledger.move_alias(slow, "1", ledger.ROLLBACK)
    ledger._apply(slow, slow.entries[-1])
    assert read(name).champion == "1"


@pytest.mark.reliability
def test_of_two_processes_one_wins(name, shared_store):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_race, args=(shared_store, name, v, barrier, results)) for v in "23"]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert sorted(found.values()) == ["AliasMovedError", "won"]
    [winner] = [version for version, outcome in found.items() if outcome == "won"]
    assert read(name).champion == winner


def _race(store, name, version, barrier, results):
    with using_store(store):
        moves = read(name)
        barrier.wait()
        try:
            ledger.move_alias(moves, version)
            results.put((version, "won"))
        except AliasMovedError as error:
            results.put((version, type(error).__name__))
