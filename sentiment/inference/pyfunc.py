"""Define the MLflow model, which `mlflow.pyfunc.load_model(uri).predict(...)` runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from .. import schema
from .predictor import Predictor

ENCODER_ARTIFACT = "encoder"
# MLflow makes a DataFrame of a list of strings; its only column has this name.
UNNAMED = 0


class SentimentModel(PythonModel):  # type: ignore[misc]  # mlflow ships no type of its base class
    """Score a DataFrame with a column `text`, a list of strings, or the JSON input of a scoring server.

    Members without a docstring are those of `Predictor`.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model folder; `model_config` holds further arguments of `Predictor`, and `output`.

        `output` is a column: `predict` returns only its values. `mlflow.models.evaluate` wants them so.
        """
        options = dict(context.model_config or {})
        self._output: str | None = options.pop("output", None)
        self._predictor = Predictor(Path(context.artifacts[ENCODER_ARTIFACT]), **options)
        if self._output not in (None, *self._predictor.columns):
            raise ValueError(f"output {self._output!r}: expected one of {', '.join(self._predictor.columns)}")

    @property
    def labels(self) -> tuple[str, ...]:
        return self._predictor.labels

    @property
    def columns(self) -> tuple[str, ...]:
        return self._predictor.columns

    @property
    def engine(self) -> str:
        return self._predictor.engine

    @property
    def instruction_set(self) -> str:
        return self._predictor.instruction_set

    @property
    def engine_warning(self) -> str | None:
        return self._predictor.engine_warning

    @property
    def budget_tokens(self) -> int:
        return self._predictor.budget_tokens

    def row_cost(self, n_tokens: int) -> int:
        return self._predictor.row_cost(n_tokens)

    def predict_columns(self, values: Sequence[object]) -> dict[str, list[Any]]:
        """Return the columns of `Predictor.predict` as lists.

        For a single review, MLflow's input checks and a DataFrame would take much of the time.
        """
        return {name: column.tolist() for name, column in self._predictor.predict_columns(values).items()}

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> Any:  # MLflow evaluates this, and cannot read the type of a Series
        """Return one row per input row, in order, with the columns of `Predictor.predict`.

        If there are rejects, `score` and `expected` have type object and are None for them, because MLflow's
        server would write NaN, which is not JSON. Raises ValueError if the input has no column `text`.
        """
        predictions = self._predictor.predict(find_texts(model_input))
        for name in (schema.SCORE, schema.EXPECTED):
            if name in predictions and predictions[name].isna().any():
                column = predictions[name]
                nullable = [None if pd.isna(value) else value for value in column]
                predictions[name] = pd.Series(nullable, index=column.index, dtype=object)
        return predictions if self._output is None else predictions[self._output]


def find_texts(model_input: object) -> Sequence[object]:
    """Return the values to score, in order, from any input that MLflow passes.

    The column `UNNAMED` comes before `text`, because `spark_udf` passes both, and an empty `text`. A JSON
    body `{"text": ["…", "…"]}` comes as one row that holds the list: each of its values becomes a row.
    """
    if isinstance(model_input, str):
        return [model_input]
    if isinstance(model_input, dict):
        model_input = pd.DataFrame({name: np.atleast_1d(v) for name, v in model_input.items()})
    if isinstance(model_input, pd.DataFrame):
        values = _find_text_column(model_input).tolist()
    else:
        values = list(model_input)  # type: ignore[call-overload]
    if len(values) == 1 and isinstance(values[0], list | tuple | np.ndarray):
        return list(values[0])
    return values


def _find_text_column(frame: pd.DataFrame) -> "pd.Series[Any]":
    for name in (UNNAMED, schema.TEXT):
        if name in frame.columns:
            return frame[name]
    raise ValueError(
        f"the input has no column {schema.TEXT!r} and is not a list of strings; pass a DataFrame with a "
        f"column {schema.TEXT!r}, or a non-empty list"
    )
