"""Hold what the routes share: the model in use, its queue, the metrics, and the watch for a new champion."""

import asyncio
import logging

from ..config import ServeConfig
from ..errors import RegistryError, SentimentError
from ..process.cores import count_cores
from ..process.telemetry import Telemetry
from .champion import Champion, ServedModel
from .logs import describe, log_event
from .metrics import Metrics
from .problems import Problem
from .queue import Queue

# A caller may try again after this time if there is no model yet, or if another instance must answer.
_NOT_READY_SECONDS = 5.0
# A collector that does not answer must not hold up the end of the process.
_CLOSE_SECONDS = 5.0


class Service:
    """Hold what the routes share. Use from one event loop, between `start` and `stop`."""

    def __init__(self, config: ServeConfig, champion: Champion, telemetry: Telemetry | None = None) -> None:
        self.config = config
        self.champion = champion
        self.telemetry = telemetry or Telemetry()
        self.metrics = Metrics(
            lambda: (self.queue.waiting.n_texts, self.queue.waiting.n_tokens), self.telemetry
        )
        self.queue = Queue(config, count_streams(config), self.metrics.note_minibatch)
        self.is_draining = False
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Log the model that serves, and look for new ones from now on."""
        if self.champion.current is not None:
            self._announce(self.champion.current)
        if self.config.reload_seconds:
            self._watch = asyncio.create_task(self._watch_champion())

    async def stop(self) -> None:
        """Finish what runs, and send the last spans and metrics."""
        self.is_draining = True
        if self._watch is not None:
            self._watch.cancel()
        await self.queue.close()
        closing = asyncio.get_running_loop().run_in_executor(None, self.telemetry.close)
        try:
            await asyncio.wait_for(closing, _CLOSE_SECONDS)
        except TimeoutError:
            log_event("telemetry_unsent", logging.WARNING)

    def require_model(self) -> ServedModel:
        """Return the model that serves now. Raises Problem `not_ready`."""
        if self.champion.current is None or self.is_draining:
            raise Problem("not_ready", retry_seconds=_NOT_READY_SECONDS)
        return self.champion.current

    async def _watch_champion(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.config.reload_seconds)
            try:
                fresh = await loop.run_in_executor(None, self.champion.refresh)
            except SentimentError as error:
                # The old model stays in use. If the registry failed, the next check tries again.
                version = None if isinstance(error, RegistryError) else self.champion.refused_version
                outcome = "refused" if version is not None else "unknown"
                self.metrics.note_reload(outcome)
                log_event(f"champion_{outcome}", version=version, **describe(error))
                continue
            if fresh is not None:
                self.metrics.note_reload("loaded")
                self._announce(fresh)

    def _announce(self, served: ServedModel) -> None:
        model, version = served.model, served.reference.version
        self.metrics.note_model(version, model.engine, model.instruction_set)
        log_event(
            "model",
            version=version,
            engine=model.engine,
            instruction_set=model.instruction_set,
            model_uri=served.reference.uri,
        )
        if model.engine_warning is not None:
            log_event("engine_refused", logging.WARNING, version=version, reason=model.engine_warning)


def count_streams(config: ServeConfig) -> int:
    """Return the number of mini-batches that are computed in parallel."""
    return config.streams or count_cores()
