"""Small models that stand in for a loaded one."""

from collections.abc import Mapping, Sequence
from typing import Any

from sentiment import schema

GOOD = (schema.POSITIVE, 0.9, False, 3, False, schema.ENCODER, None)


class StandIn:
    """A model that pads rows to a multiple of 32 tokens; a subclass changes `predict_one`."""

    labels = schema.POLARITY_LABELS
    columns: tuple[str, ...] = schema.PREDICTION_COLUMNS
    engine = "int8"
    budget_tokens = 512
    instruction_set = "avx512_vnni"
    engine_warning = None

    def row_cost(self, n_tokens: int) -> int:
        return -(-n_tokens // 32) * 32

    def predict_columns(self, values: Sequence[Any]) -> Mapping[str, list[Any]]:
        rows = [self.predict_one(value) for value in values]
        found: dict[str, list[Any]] = {
            name: [row[i] for row in rows] for i, name in enumerate(schema.PREDICTION_COLUMNS)
        }
        found[schema.PROBABILITIES] = [self._list_probabilities(row) for row in rows]
        return {name: found[name] for name in self.columns}

    def _list_probabilities(self, row: tuple[Any, ...]) -> list[float] | None:
        label, score = row[:2]
        if label is None or score is None:
            return None
        return [score if name == label else 1 - score for name in self.labels]

    def predict_one(self, value: Any) -> tuple[Any, ...]:
        """Return the row of `schema.PREDICTION_COLUMNS` for a value."""
        return GOOD
