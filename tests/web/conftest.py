"""The service as an application in this process, around a model made here."""

import contextlib
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from sentiment import schema
from sentiment.config import ServeConfig
from sentiment.serving.champion import Champion, ServedModel
from sentiment.serving.server import assemble
from tests.standins import StandIn


class WordModel(StandIn):
    """Finds a text positive if it has `good` in it; fails on `breaks`; waits at `gate`, if it has one."""

    columns = (*schema.PREDICTION_COLUMNS, schema.PROBABILITIES)

    def __init__(self, gate=None):
        self.gate = gate
        self.seen = []

    def predict_columns(self, values):
        self.seen.append(list(values))
        if self.gate is not None:
            assert self.gate.wait(20)
        if "breaks" in values:
            raise ValueError(f"cannot read {values}")
        return super().predict_columns(values)

    def predict_one(self, text):
        if text is None:
            return (None, None, False, 0, False, None, schema.NULL_TEXT)
        if not isinstance(text, str):
            return (None, None, False, 0, False, None, schema.NOT_TEXT)
        label = schema.POSITIVE if "good" in text else schema.NEGATIVE
        return (label, 0.75, False, 2 + len(text.split()), False, schema.ENCODER, None)


def make_served_model(version="7", model=None):
    reference = SimpleNamespace(
        version=version, uri="models:/sentiment@champion", pinned_uri=f"models:/sentiment/{version}"
    )
    return ServedModel(reference, model or WordModel())


@pytest.fixture
def start_service():
    """Starts the application with options of `ServeConfig`: a client, with `service` as an attribute."""
    with contextlib.ExitStack() as stack:

        def start(model=None, environment=None, champion=None, telemetry=None, **options):
            config = ServeConfig(**{"reload_seconds": 0} | options)
            if champion is None:
                champion = Champion(
                    config.model_uri, lambda uri: make_served_model(model=model), lambda uri: "7"
                )
                champion.start()
            guard, service = assemble(config, champion, environment or {}, telemetry)
            client = stack.enter_context(TestClient(guard, base_url="http://localhost"))
            client.service = service
            return client

        yield start
