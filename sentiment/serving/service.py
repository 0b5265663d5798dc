"""Serve the routes: the model in use, the queue before it, and the check for room."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from typing import Any

from ..config import ServeConfig
from ..errors import SentimentError
from ..models.predictions import Prediction, list_predictions
from .batching import Answer, MicroBatcher, OverloadedError
from .champion import Champion, ServedModel
from .logs import describe, log_event
from .metrics import Metrics
from .problems import Problem

_NOT_READY_SECONDS = 5.0
"""After which a caller may try again while there is no model, or another instance is to be asked."""


class Service:
    """Scores values for callers with the model that is champion now.

    Use from one event loop, between `start` and `stop`.
    """

    def __init__(self, config: ServeConfig, champion: Champion, batcher: "MicroBatcher[ServedModel]") -> None:
        self.config = config
        self.champion = champion
        self.metrics = Metrics(lambda: (batcher.n_waiting_texts, batcher.n_waiting_tokens))
        self.is_draining = False
        self._batcher = batcher
        self._watch: asyncio.Task[None] | None = None
        batcher.observe = self.metrics.note_minibatch

    async def start(self) -> None:
        """Say which model serves, and look for new ones from now on."""
        if self.champion.current is not None:
            self._announce(self.champion.current)
        if self.config.reload_seconds:
            self._watch = asyncio.create_task(self._watch_champion())

    async def stop(self) -> None:
        """Let what runs end."""
        self.is_draining = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await self._batcher.close()

    def require_model(self) -> ServedModel:
        """Return the model that serves now. Raises Problem `not_ready`."""
        if self.champion.current is None or self.is_draining:
            raise Problem("not_ready", retry_seconds=_NOT_READY_SECONDS)
        return self.champion.current

    async def score(
        self, values: Sequence[Any], model: ServedModel, is_patient: bool = False
    ) -> "Answer[ServedModel]":
        """Return a prediction per value, all by `model`. Raises Problem `overloaded` or `deadline`."""
        try:
            return await self._batcher.score(model, values, self.config.request_seconds, is_patient)
        except OverloadedError as error:
            raise Problem("overloaded", retry_seconds=error.retry_seconds) from None
        except asyncio.TimeoutError:
            raise Problem("deadline") from None

    async def _watch_champion(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.config.reload_seconds)
            try:
                fresh = await loop.run_in_executor(None, self.champion.refresh)
            except SentimentError as error:
                # The old one serves on; what is wrong with the new one is for whoever made it champion, and
                # a registry that does not answer is asked again.
                version = self.champion.refused_version
                outcome = "refused" if version is not None else "unknown"
                self.metrics.note_reload(outcome)
                log_event(f"champion_{outcome}", version=version, **describe(error))
                continue
            if fresh is not None:
                self.metrics.note_reload("loaded")
                self._announce(fresh)

    def _announce(self, served: ServedModel) -> None:
        model = served.model
        self._batcher.budget_tokens = model.budget_tokens
        self._batcher.load.row_cost = model.row_cost
        self.metrics.note_model(served.version, model.engine, model.instruction_set)
        log_event(
            "model",
            version=served.version,
            engine=model.engine,
            instruction_set=model.instruction_set,
            model_uri=served.reference.uri,
        )
        if model.engine_warning is not None:
            log_event("engine_refused", logging.WARNING, version=served.version, reason=model.engine_warning)


def score_batch(served: ServedModel, values: Sequence[Any]) -> list[Prediction]:
    """Score a mini-batch, in a thread of the queue."""
    return list_predictions(served.model, values)


def make_batcher(config: ServeConfig) -> "MicroBatcher[ServedModel]":
    """Make the queue before the model, with a thread for each mini-batch that is computed."""
    return MicroBatcher(score_batch, config.max_wait_seconds, count_streams(config))


def count_streams(config: ServeConfig) -> int:
    """Mini-batches that are computed side by side."""
    return config.streams or len(os.sched_getaffinity(0))
