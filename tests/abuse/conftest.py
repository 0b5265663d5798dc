"""Fixtures of the abuse tests: the tiny model in use, and a service with low limits."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.factories import TOKEN, TinyModel, using_store
from tests.servers import Server, start_server

# Limits that abuse of modest size passes.
LIMITS: dict[str, Any] = {
    "max_body_bytes": 200_000,
    "max_texts": 64,
    "max_text_chars": 50_000,
    "max_connections": 300,
    "header_seconds": 2,
    "body_seconds": 2,
    "reload_seconds": 0,
}


@pytest.fixture(scope="package")
def model(tiny_model: TinyModel) -> Iterator[TinyModel]:
    """Point MLflow at the tiny model while the tests of this folder run."""
    with using_store(tiny_model.tracking_uri):
        yield tiny_model


@pytest.fixture(scope="module")
def server(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with `LIMITS` for the tests of a module."""
    folder = tmp_path_factory.mktemp("server")
    with start_server(model.tracking_uri, folder, TOKEN, model_uri=model.uri, **LIMITS) as server:
        yield server


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that adds a line to the printed counts, and to the test's entry in the JUnit file."""
    return lambda text: request.node.user_properties.append(("note", text))
