"""The quick cases of every cell; all of them run by `python -m tests.faults`."""

from pathlib import Path

import pytest

from sentiment import registry
from tests.conftest import ROOT, Environment, TinyModel
from tests.matrix import Case, list_quick

from .cells import World
from .matrix import CELLS

QUICK = list_quick(CELLS)


@pytest.fixture(scope="module")
def world(tiny_model: TinyModel):
    with Environment(MLFLOW_TRACKING_URI=tiny_model.tracking_uri):
        registry.use_tracking(ROOT)
        yield World(tiny_model.tracking_uri, tiny_model.uri)


@pytest.mark.parametrize("case", QUICK.values(), ids=QUICK.keys())
def test_a_promise_holds_under_the_fault(case: Case, world: World, tmp_path: Path) -> None:
    case.check(world, tmp_path)
