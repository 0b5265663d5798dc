"""A night has one MLflow run per store, however often it is logged."""

import datetime

import mlflow
import pytest

from sentiment.errors import RegistryError
from sentiment.monitoring import night_run
from sentiment.monitoring.night_run import log_night
from tests.factories import using_store
from tests.unit.monitoring.nights import FIRST, World

pytestmark = pytest.mark.slow


def test_a_night_that_is_logged_again_keeps_its_run(tmp_path, monkeypatch):
    world = World(tmp_path)
    world.arrive(FIRST, n=50)
    row = world.run(FIRST).row
    with using_store(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        first = log_night("nightly", "/it's here", FIRST, row, "<p>report</p>")
        again = log_night("nightly", "/it's here", FIRST, {**row, "input_rows": 51}, "<p>report</p>")
        other = log_night("nightly", "/elsewhere", FIRST, row, "<p>report</p>")
        later = log_night("nightly", "/elsewhere", FIRST + datetime.timedelta(days=1), row, "<p>report</p>")
        run = mlflow.get_run(first)
        assert mlflow.artifacts.load_text(f"runs:/{first}/night.html") == "<p>report</p>"

        def fail(**arguments):
            raise mlflow.exceptions.MlflowException("a canary sings")

        monkeypatch.setattr(night_run.import_mlflow(), "search_runs", fail)
        with pytest.raises(RegistryError, match="the run of the night 2026-03-02") as raised:
            log_night("nightly", "/elsewhere", FIRST, row, "")
    assert "canary" not in str(raised.value)
    assert first == again
    assert len({first, other, later}) == 3
    assert run.data.metrics["input_rows"] == 51
    assert "unsure_share" in run.data.metrics
