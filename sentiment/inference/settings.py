"""Read and write inference.json, which holds the decisions of fine-tuning on how a model runs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .calibration import Calibration, CoveragePoint
from .tokenization import HEAD

SETTINGS_FILE = "inference.json"
# Written by transformers.
CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Settings:
    """Hold the settings of a model.

    `cpu_engine` passed the gate with the figures in `cpu_engine_reason`, on a processor with the instruction
    set `gated_on` (None if no engine was compared). `pad_id` and `hidden_size` are those of the encoder;
    `truncation` is `tokenization.HEAD` or `HEAD_TAIL`. `labels` are the class names in the order of the
    classes. `temperature` and `power`, fitted with `cpu_engine`, calibrate the probabilities of the encoder.
    A score below `min_score` is unsure; `coverage` is what fine-tuning measured for other values of it.
    """

    cpu_engine: str
    cpu_engine_reason: str
    pad_id: int
    hidden_size: int
    labels: tuple[str, ...]
    truncation: str = HEAD
    gated_on: str | None = None
    temperature: float = 1.0
    power: float = 1.0
    min_score: float = 0.0
    coverage: tuple[CoveragePoint, ...] = ()

    @property
    def calibration(self) -> Calibration:
        return Calibration(self.temperature, self.power)


def load_settings(folder: Path) -> Settings:
    content = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    content["labels"] = tuple(content["labels"])
    content["coverage"] = tuple(CoveragePoint(**point) for point in content["coverage"])
    return Settings(**content)


def find_embedding_rows(folder: Path) -> int | None:
    """Return how many tokens the embedding has, as config.json states; None if that does not state it."""
    rows: int | None = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("vocab_size")
    return rows


def save_settings(settings: Settings, folder: Path) -> None:
    text = json.dumps(asdict(settings), indent=2) + "\n"
    (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
