"""Models that somebody has tampered with: the service runs nothing of them, and logs one line."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment.errors import ModelError
from sentiment.models import registry
from tests.factories import TOKEN, TinyModel
from tests.hostile import HOSTILE, damage_version, register_copy
from tests.servers import Server, StartError, start_server

from .clients import asking

pytestmark = [
    pytest.mark.abuse,
    pytest.mark.promise("S1", "models that somebody has tampered with"),
]
_NAME = "abuse-served"
_REFUSAL_SECONDS = 60.0
_numbers = itertools.count(1)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.quick] * (kind == "pickle")) for kind in HOSTILE]
)
def test_the_service_does_not_start_on_it(kind: str, model: TinyModel, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    uri = register_copy(model.uri, tmp_path / "model", name=f"abuse-start-{next(_numbers)}")
    damage_version(uri, kind, canary)
    with pytest.raises(StartError) as ended:
        start_server(model.tracking_uri, tmp_path / "server", model_uri=uri).stop()
    assert ended.value.code == ModelError.exit_code, ended.value
    assert ended.value.said.count("\n") == 1, f"not one line: {ended.value.said}"
    assert ended.value.said.startswith("error: "), ended.value.said
    assert not canary.exists(), "something of it was run"


@pytest.fixture(scope="module")
def good_version(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Register a model of its own, served while others come; return its version."""
    folder = tmp_path_factory.mktemp("served")
    return register_copy(model.uri, folder / "model", _NAME, "champion").rpartition("/")[2]


@pytest.fixture(scope="module")
def serving(
    model: TinyModel, good_version: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Serve, and look twice per second for a new champion."""
    options = {"model_uri": f"models:/{_NAME}@champion", "reload_seconds": 0.5}
    folder = tmp_path_factory.mktemp("server")
    with start_server(model.tracking_uri, folder, TOKEN, **options) as server:
        yield server


@pytest.mark.parametrize("kind", HOSTILE)
def test_as_a_new_champion_it_is_refused_and_the_old_one_serves_on(
    kind: str, model: TinyModel, good_version: str, serving: Server, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    uri = register_copy(model.uri, tmp_path / "model", name=_NAME)
    damage_version(uri, kind, canary)
    version = uri.rpartition("/")[2]
    with asking(serving, ["the battery is great"], pause_seconds=0.05) as bystander:
        registry.set_alias(_NAME, "champion", version)
        line = serving.wait_for_event("champion_refused", _REFUSAL_SECONDS, version=version)
        bystander.wait_for_answers()
    assert line["error"] == "ModelIntegrityError", line
    assert bystander.read().statuses == {200}
    assert {line["model_version"] for line in serving.list_events("request")} == {good_version}
    registry.set_alias(_NAME, "champion", good_version)
    assert not canary.exists(), "something of it was run"
