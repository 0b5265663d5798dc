"""S1: models that somebody has tampered with: the service runs nothing of them, and says so in a line."""

import itertools
from collections.abc import Callable
from pathlib import Path

from sentiment.errors import ModelError
from tests.hostile import HOSTILE, damage_version, register_copy
from tests.matrix import Case
from tests.servers import StartError, start_server

from .cells import TOKEN, World
from .clients import asking

_NAME = "abuse-served"
_REFUSAL_SECONDS = 60.0
_numbers = itertools.count(1)


def list_cases() -> list[Case]:
    """S1: each kind of tampering, found at the start, and found while another version serves."""
    return [
        *(
            Case(f"the service does not start on a model with {kind}", _make_start(kind), kind == "pickle")
            for kind in HOSTILE
        ),
        *(
            Case(f"a new champion with {kind} is refused, the old one serves on", _make_swap(kind))
            for kind in HOSTILE
        ),
    ]


def _make_start(kind: str) -> Callable[[World, Path], None]:
    def check(world: World, folder: Path) -> None:
        canary = folder / "canary"
        uri = register_copy(world.model_uri, folder / "model", name=f"abuse-start-{next(_numbers)}")
        damage_version(uri, kind, canary)
        ended = _fail_to_start(world, folder / "server", uri)
        assert ended.code == ModelError.exit_code, ended
        assert ended.said.count("\n") == 1, f"not one line: {ended.said}"
        assert ended.said.startswith("error: "), ended.said
        assert not canary.exists(), "something of it was run"

    return check


def _fail_to_start(world: World, folder: Path, uri: str) -> StartError:
    try:
        server = start_server(world.tracking_uri, folder, model_uri=uri)
    except StartError as ended:
        return ended
    server.stop()
    raise AssertionError("it serves")


def _make_swap(kind: str) -> Callable[[World, Path], None]:
    def check(world: World, folder: Path) -> None:
        canary = folder / "canary"
        if "served" not in world.kept:
            # The copy outlives this case: versions to come are others.
            world.kept["served"] = register_copy(world.model_uri, world.folder / "served", _NAME, "champion")
        good = world.kept["served"].rpartition("/")[2]
        server = world.serve(token=TOKEN, model_uri=f"models:/{_NAME}@champion", reload_seconds=0.5)
        uri = register_copy(world.model_uri, folder / "model", name=_NAME)
        damage_version(uri, kind, canary)
        version = uri.rpartition("/")[2]
        with asking(server, ["the battery is great"], pause_seconds=0.05) as bystander:
            _make_champion(version)
            line = server.wait_for_event("champion_refused", _REFUSAL_SECONDS, version=version)
            bystander.wait_for_answers()
        assert line["error"] == "ModelIntegrityError", line
        assert bystander.read().statuses == {200}
        assert {line["model_version"] for line in server.list_events("request")} == {good}
        _make_champion(good)
        assert not canary.exists(), "something of it was run"

    return check


def _make_champion(version: str) -> None:
    from sentiment import registry

    registry.set_alias(_NAME, "champion", version)
