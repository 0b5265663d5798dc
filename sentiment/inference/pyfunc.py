"""The MLflow face of the predictor: what `mlflow.pyfunc.load_model(uri).predict(...)` runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from .. import schema
from .predictor import Predictor

ENCODER_ARTIFACT = "encoder"
UNNAMED = 0
"""What pandas calls the only column of a frame that MLflow makes of a list of strings."""


class SentimentModel(PythonModel):  # type: ignore[misc]  # mlflow ships no type of its base class
    """Takes a DataFrame with a column `text`, a list of strings, or what a scoring server made of JSON."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model folder; `model_config` may set whatever `Predictor` takes beside it."""
        options = context.model_config or {}
        self._predictor = Predictor(Path(context.artifacts[ENCODER_ARTIFACT]), **options)

    @property
    def engine(self) -> str:
        """The name of the engine that runs."""
        return self._predictor.engine

    @property
    def instruction_set(self) -> str:
        """Return the instruction set that the engine runs on, such as `amx`, `avx2` or `cuda`."""
        return self._predictor.instruction_set

    @property
    def engine_warning(self) -> str | None:
        """Return why a faster engine of the model does not run here; None if the intended one does."""
        return self._predictor.engine_warning

    @property
    def budget_tokens(self) -> int:
        """Tokens of a mini-batch that suits the engine."""
        return self._predictor.budget_tokens

    def row_cost(self, n_tokens: int) -> int:
        """Return what a row of `n_tokens` tokens takes of `budget_tokens`."""
        return self._predictor.row_cost(n_tokens)

    def predict_columns(self, values: Sequence[object]) -> dict[str, list[Any]]:
        """`predict` of a list, as a list for each column; `score` is NaN without label.

        Without MLflow's look at each input, and without a DataFrame: a single call feels both.
        """
        return {name: column.tolist() for name, column in self._predictor.predict_columns(values).items()}

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return one prediction per row, in order (`Predictor.predict` has the columns).

        Null, blank and non-string values become rejects; where there are any, `score` is a column of
        objects with None for them, because MLflow's server would write NaN, which is no JSON. Raises
        ValueError, without any value in its message, if the input has no column `text`.
        """
        predictions = self._predictor.predict(find_texts(model_input))
        scores = predictions[schema.SCORE]
        if scores.isna().any():
            nullable = [None if pd.isna(score) else score for score in scores]
            predictions[schema.SCORE] = pd.Series(nullable, index=scores.index, dtype=object)
        return predictions


def find_texts(model_input: object) -> Sequence[object]:
    """Return the values to score of whatever MLflow hands over, in order.

    MLflow calls the column of a plain list `0`, and so does `spark_udf` with its only argument (it then
    adds an empty `text`). A column-wise JSON body `{"text": ["…", "…"]}` arrives as one row that holds
    the list: each value of it is a row of the answer.
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
        f"the input has no column {schema.TEXT!r} and no rows that could be read as a list of strings: "
        f"pass a DataFrame with a column {schema.TEXT!r}, or a non-empty list"
    )
