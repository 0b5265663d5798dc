"""Keep what fine-tuning decided about how a model runs, in inference.json next to the encoder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .tokenization import HEAD

SETTINGS_FILE = "inference.json"


@dataclass(frozen=True)
class Settings:
    """Hold what fine-tuning decided.

    `cpu_engine` passed the gate; `cpu_engine_reason` has the figures, and `gated_on` the instruction set of
    the processor (None if no engine was compared). `pad_id` and `hidden_size` (width of a token between the
    layers) are the encoder's; `truncation` is one of `tokenization.TRUNCATIONS`.
    """

    cpu_engine: str
    cpu_engine_reason: str
    pad_id: int
    hidden_size: int
    truncation: str = HEAD
    gated_on: str | None = None


def load_settings(folder: Path) -> Settings:
    """Read a model folder's inference.json."""
    return Settings(**json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")))


def save_settings(settings: Settings, folder: Path) -> None:
    """Write it."""
    text = json.dumps(asdict(settings), indent=2) + "\n"
    (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
