"""Call a loaded model, for Spark jobs, the service, the app and score.py.

If a text breaks the model, only that text is a reject; all others get their predictions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .. import schema
from ..errors import ModelError
from .loading import LoadedModel

# The columns of the model for one value, as JSON has them: None where there is nothing.
Prediction = dict[str, Any]
# The columns of the model for many values: a list per column, a row per value.
Columns = Mapping[str, list[Any]]

# A model is broken, and its texts are not rejects, if it fails on more texts than this or on more than half.
_MAX_FAILING = 10
# A column of rejects only would otherwise have another type than one with numbers.
_NUMBERS = (schema.SCORE, schema.EXPECTED)


class _FailedError(ModelError):
    """The model raised an exception, perhaps because of one of the texts."""


def predict_each(model: LoadedModel, values: Sequence[Any]) -> pd.DataFrame:
    """Return the model's columns for `values`, one row each in order, whatever their types.

    Values on which the model fails are rejects; halving the values finds them. Raises ModelError, whose
    message has no text, if the model fails on more than `_MAX_FAILING` or on more than half of the
    values, or breaks its contract.
    """
    found = pd.DataFrame(_predict_columns_each(model, values))
    return found.astype({name: "float64" for name in _NUMBERS if name in found})


def list_predictions(model: LoadedModel, values: Sequence[Any]) -> list[Prediction]:
    """Return a prediction of each value, in order, whatever their types. Raises what `predict_each` does."""
    if not values:
        return []
    found = _predict_columns_each(model, values)
    # JSON has no NaN: a value without label has no score either.
    return [
        {
            name: None if value is None or value != value else value
            for name, value in zip(found, row, strict=True)
        }
        for row in zip(*found.values(), strict=True)
    ]


def predict_columns(model: LoadedModel, values: Sequence[Any]) -> Columns:
    """Call the model once for all values.

    Raises ModelError, whose message has no text, if the model fails or breaks its contract.
    """
    try:
        found = model.predict_columns(values)
    # The model is foreign code that may raise anything, with a review in its message.
    except Exception as error:
        failure = f"the model failed while it scored: {type(error).__name__}"
        raise _FailedError(f"{failure}; try another version") from error
    columns = found if isinstance(found, Mapping) else {}
    missing = [name for name in model.columns if name not in columns]
    n_rows = {len(columns[name]) for name in model.columns if name in columns}
    if missing or n_rows != {len(values)}:
        raise ModelError(
            f"the model is not a sentiment model: expected {len(values)} rows of "
            f"{', '.join(model.columns)}, found {' or '.join(map(str, sorted(n_rows))) or 'no'} "
            f"rows{' without ' if missing else ''}{', '.join(missing)}; try another one"
        )
    return {name: list(columns[name]) for name in model.columns}


def _predict_columns_each(model: LoadedModel, values: Sequence[Any]) -> Columns:
    try:
        return predict_columns(model, values)
    except _FailedError as error:
        if len(values) == 1:
            return _make_failed(model)
        found = _predict_halves(model, values)
        if _count_failing(found) > min(_MAX_FAILING, len(values) // 2):
            # By its public class, for which the driver looks in the text of Spark's error.
            raise ModelError(str(error)) from error
        return found


def _predict_halves(model: LoadedModel, values: Sequence[Any]) -> Columns:
    middle = len(values) // 2
    parts: list[Columns] = []
    for part in (values[:middle], values[middle:]):
        try:
            found = predict_columns(model, part)
        except _FailedError:
            found = _make_failed(model) if len(part) == 1 else _predict_halves(model, part)
        parts.append(found)
        if sum(map(_count_failing, parts)) > _MAX_FAILING:
            raise ModelError(f"the model failed on more than {_MAX_FAILING} texts; try another version")
    first, second = parts
    return {name: [*first[name], *second[name]] for name in model.columns}


def _count_failing(found: Columns) -> int:
    return found[schema.REJECT_REASON].count(schema.MODEL_FAILED)


def _make_failed(model: LoadedModel) -> Columns:
    """Return the columns of one value on which the model failed."""
    known = {
        schema.UNSURE: False,
        schema.N_TOKENS: 0,
        schema.TRUNCATED: False,
        schema.REJECT_REASON: schema.MODEL_FAILED,
    }
    return {name: [known.get(name)] for name in model.columns}
