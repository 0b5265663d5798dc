"""The service as an application in this process, around a model made here."""

import contextlib
from types import SimpleNamespace

import pandas as pd
import pytest
from starlette.testclient import TestClient

from sentiment import schema
from sentiment.config import ServeConfig
from sentiment.serving.champion import Champion, ServedModel
from sentiment.serving.server import assemble


class WordModel:
    """Finds a text positive if it has `good` in it; fails on `breaks`; waits at `gate`, if it has one."""

    def __init__(self, gate=None):
        self.gate = gate
        self.seen = []

    def predict(self, frame):
        texts = frame["text"].tolist()
        self.seen.append(texts)
        if self.gate is not None:
            assert self.gate.wait(20)
        if any(text == "breaks" for text in texts):
            raise ValueError(f"cannot read {texts}")
        rows = [self._predict(text) for text in texts]
        return pd.DataFrame(rows, columns=list(schema.PREDICTION_COLUMNS), dtype=object)

    def _predict(self, text):
        if text is None:
            return (None, None, 0, False, None, schema.NULL_TEXT)
        if not isinstance(text, str):
            return (None, None, 0, False, None, schema.NOT_TEXT)
        label = schema.POSITIVE if "good" in text else schema.NEGATIVE
        return (label, 0.75, 2 + len(text.split()), False, schema.ENCODER, None)


def make_served_model(version="7", model=None, budget_tokens=512, step_tokens=32):
    reference = SimpleNamespace(
        version=version, uri="models:/sentiment@champion", pinned_uri=f"models:/sentiment/{version}"
    )
    return ServedModel(reference, model or WordModel(), "int8", budget_tokens, step_tokens)


@pytest.fixture
def start_service():
    """Starts the application with options of `ServeConfig`: a client, with `service` as an attribute."""
    with contextlib.ExitStack() as stack:

        def start(model=None, environment=None, champion=None, **options):
            config = ServeConfig(**{"reload_seconds": 0} | options)
            if champion is None:
                champion = Champion(
                    config.model_uri, lambda uri: make_served_model(model=model), lambda uri: "7"
                )
                champion.start()
            guard, service = assemble(config, champion, environment or {})
            client = stack.enter_context(TestClient(guard, base_url="http://localhost"))
            client.service = service
            return client

        yield start
