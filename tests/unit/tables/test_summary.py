"""The summary of a run, from what its workers reported."""

from sentiment.tables.summary import Outcome, _list_engine_warnings
from sentiment.tables.worker import WorkerEngine

WARNING = "engine f32 runs on processor avx2; refused: int8_static: 2 of 32 labels differ"


def test_workers_that_ran_another_engine_are_counted_once_per_reason():
    workers = frozenset(
        {
            WorkerEngine("a:1", "int8_static", "amx", None),
            WorkerEngine("b:1", "f32", "avx2", WARNING),
            WorkerEngine("b:2", "f32", "avx2", WARNING),
        }
    )
    outcome = Outcome(workers=workers)
    assert outcome.n_workers == 3
    assert _list_engine_warnings(outcome) == [f"{WARNING} (in 2 of 3 Python workers)"]


def test_no_warning_where_each_worker_runs_the_intended_engine():
    assert _list_engine_warnings(Outcome(workers=frozenset({WorkerEngine("a:1", "int8", "amx", None)}))) == []
