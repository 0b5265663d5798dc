"""What a loaded model says of values, whoever asks: the table, the service, a single call.

A text that the model fails on is a reject of its own; its neighbours get their answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from . import schema
from .errors import ModelError
from .loading import LoadedModel, unwrap_python_model

Prediction = dict[str, Any]
"""`schema.PREDICTION_COLUMNS` of one value, as JSON has them: None where there is nothing."""

_MAX_FAILING = 10
"""Texts of those given on which a model may fail before it is the model that is broken."""


def predict(model: LoadedModel, texts: "pd.Series[Any]") -> pd.DataFrame:
    """`schema.PREDICTION_COLUMNS` of `texts`, one row each in order, whatever their types.

    Raises ModelError, without any text in it, if the model fails or does not keep to its contract.
    """
    try:
        predictions = model.predict(pd.DataFrame({schema.TEXT: texts.astype(object)}))
    # The model is foreign code that may raise anything, with a review in its message.
    except Exception as error:
        failure = f"the model failed while it scored: {type(error).__name__}"
        raise ModelError(f"{failure}; try another version") from error
    missing = set(schema.PREDICTION_COLUMNS).difference(getattr(predictions, "columns", ()))
    if missing or len(predictions) != len(texts):
        raise ModelError(
            f"the model is no sentiment model: expected {len(texts)} rows of "
            f"{', '.join(schema.PREDICTION_COLUMNS)}, found {len(predictions)} rows"
            f"{' without ' if missing else ''}{', '.join(sorted(missing))}; try another one"
        )
    return predictions[list(schema.PREDICTION_COLUMNS)]


def predict_columns(model: LoadedModel, values: Sequence[Any]) -> Mapping[str, list[Any]]:
    """`predict` as a list for each column; from a model that can, without a DataFrame on the way."""
    direct = getattr(unwrap_python_model(model), "predict_columns", None)
    if direct is None:
        found = predict(model, pd.Series(list(values), dtype=object))
        return {name: found[name].tolist() for name in schema.PREDICTION_COLUMNS}
    try:
        columns: Mapping[str, list[Any]] = direct(values)
    except Exception as error:  # as in `predict`
        failure = f"the model failed while it scored: {type(error).__name__}"
        raise ModelError(f"{failure}; try another version") from error
    return columns


def predict_each(model: LoadedModel, texts: "pd.Series[Any]") -> pd.DataFrame:
    """`predict`, and where the model fails on some of the texts these are rejects, found by halves.

    Raises ModelError if it fails on more than `_MAX_FAILING` of them: then it is not the texts.
    """
    try:
        return predict(model, texts)
    except ModelError as error:
        if len(texts) == 1:
            return pd.DataFrame([make_reject(schema.MODEL_FAILED)])
        found = _predict_halves(model, texts)
        n_failing = int((found[schema.REJECT_REASON] == schema.MODEL_FAILED).sum())
        if n_failing > min(_MAX_FAILING, len(texts) // 2):
            raise error
        return found


def list_predictions(model: LoadedModel, values: Sequence[Any]) -> list[Prediction]:
    """A prediction of each value, in order, whatever their types. Raises what `predict_each` does."""
    if not values:
        return []
    try:
        found = predict_columns(model, values)
    except ModelError:
        frame = predict_each(model, pd.Series(list(values), dtype=object))
        found = {name: frame[name].tolist() for name in schema.PREDICTION_COLUMNS}
    columns = [found[name] for name in schema.PREDICTION_COLUMNS]
    # JSON has no NaN: a value without label has no score either.
    return [
        {
            name: None if value is None or value != value else value
            for name, value in zip(schema.PREDICTION_COLUMNS, row, strict=True)
        }
        for row in zip(*columns, strict=True)
    ]


def make_reject(reason: str) -> Prediction:
    """The prediction of a value that gets no label."""
    empty: Prediction = {
        **dict.fromkeys(schema.PREDICTION_COLUMNS),
        schema.N_TOKENS: 0,
        schema.TRUNCATED: False,
    }
    return empty | {schema.REJECT_REASON: reason}


def _predict_halves(model: LoadedModel, texts: "pd.Series[Any]") -> pd.DataFrame:
    middle = len(texts) // 2
    parts, failing = [], 0
    for part in (texts.iloc[:middle], texts.iloc[middle:]):
        try:
            found = predict(model, part)
        except ModelError:
            found = (
                pd.DataFrame([make_reject(schema.MODEL_FAILED)])
                if len(part) == 1
                else _predict_halves(model, part)
            )
        failing += int((found[schema.REJECT_REASON] == schema.MODEL_FAILED).sum())
        if failing > _MAX_FAILING:
            raise ModelError(f"the model failed on more than {_MAX_FAILING} texts of {len(texts):,}")
        parts.append(found.astype(object))  # a part of rejects alone has no types to agree on
    return pd.concat(parts, ignore_index=True)
