"""What the cases of the matrix share: a tracking store with a tiny champion, and a service of it."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import tune_tiny_model
from tests.servers import Server, start_server

TOKEN = "a-token-of-many-characters"
LIMITS: dict[str, Any] = {
    "token": TOKEN,
    "max_body_bytes": 200_000,
    "max_texts": 64,
    "max_text_chars": 50_000,
    "max_connections": 300,
    "header_seconds": 2,
    "body_seconds": 2,
    "reload_seconds": 0,
}
"""Low limits, which abuse of modest size passes; the cells that need no others share one service."""


@dataclass
class World:
    """`folder` is for logs and models; `kept` is what a cell wants to make once."""

    tracking_uri: str
    model_uri: str
    folder: Path
    is_long: bool = False
    kept: dict[str, Any] = field(default_factory=dict)
    _server: Server | None = None
    _options: dict[str, Any] | None = None
    _n_started: int = 0

    def serve(self, **options: Any) -> Server:
        """The service with these options. There is one at a time: that of other options is stopped."""
        if self._server is None or self._options != options or not self._server.is_alive:
            self.close()
            self._n_started += 1
            folder = self.folder / f"server-{self._n_started}"
            self._server = start_server(self.tracking_uri, folder, **{"model_uri": self.model_uri} | options)
            self._options = options
        return self._server

    def close(self) -> None:
        """Stop the service, if there is one."""
        if self._server is not None:
            self._server.stop()
        self._server = None


@contextlib.contextmanager
def open_world(folder: Path, is_long: bool = False) -> Iterator[World]:
    """Fine-tune and register `models:/sentiment@champion` in a tracking store under `folder`."""
    from sentiment import registry

    folder.mkdir(parents=True)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    registry.use_tracking(folder)
    world = World(os.environ["MLFLOW_TRACKING_URI"], tune_tiny_model(folder), folder / "abuse", is_long)
    with contextlib.closing(world):
        yield world
