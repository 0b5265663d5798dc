"""Small models that stand in for a loaded one."""

from collections.abc import Mapping, Sequence
from typing import Any

from sentiment import schema

GOOD = (schema.POSITIVE, 0.9, 3, False, schema.ENCODER, None)


class StandIn:
    """A model that pads rows to a multiple of 32 tokens; a subclass changes `predict_one`."""

    engine = "int8"
    budget_tokens = 512
    instruction_set = "avx512_vnni"
    engine_warning = None

    def row_cost(self, n_tokens: int) -> int:
        return -(-n_tokens // 32) * 32

    def predict_columns(self, values: Sequence[Any]) -> Mapping[str, list[Any]]:
        rows = [self.predict_one(value) for value in values]
        return {name: [row[i] for row in rows] for i, name in enumerate(schema.PREDICTION_COLUMNS)}

    def predict_one(self, value: Any) -> tuple[Any, ...]:
        """Return the row of `schema.PREDICTION_COLUMNS` for a value."""
        return GOOD
