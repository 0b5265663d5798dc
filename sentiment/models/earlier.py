"""Adapt models that earlier versions of this project logged; their scores stay the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import schema
from ..errors import ModelLoadError
from .registry import PACKAGE_PREFIX, import_mlflow

_BUDGET_TOKENS = 512
_STEP_TOKENS = 32


def is_earlier(folder: Path) -> bool:
    """Return whether this project logged the model in `folder` before models had the option `min_score`.

    Such a model returns fewer columns; models that were logged later need no adapting.
    """
    is_ours = any((folder / "code").glob(f"{PACKAGE_PREFIX}*"))
    return is_ours and "min_score" not in find_options(folder)


def load_pyfunc(folder: Path, options: Mapping[str, Any] | None) -> Any:
    """Load a model with MLflow; the code of an earlier one may leave signals without a stack to run on."""
    from ..inference.signal_stack import keeping_signal_stack

    mlflow = import_mlflow()
    with keeping_signal_stack():
        return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True, model_config=options)


def find_options(folder: Path) -> set[str]:
    """Return the names of the options that a model states."""
    flavor = import_mlflow().models.Model.load(str(folder)).flavors["python_function"]
    return set(flavor.get("config") or {})


def find_safe_engine(folder: Path) -> tuple[str, str] | None:
    """Return the engine that an earlier model must use on this processor, and a warning.

    Its own code would run `int8_static` on any processor, which computes wrong where int8 products saturate.
    None if its own choice is right.
    """
    from ..inference.engines.openvino import INT8, INT8_STATIC
    from ..inference.processor import SATURATING, find_processor

    settings = next(folder.glob("artifacts/*/inference.json"), None)
    processor = find_processor()
    if settings is None or processor.instruction_set not in SATURATING:
        return None
    content = json.loads(settings.read_text(encoding="utf-8"))
    # Models that state where they passed the gate choose by processor themselves.
    if content.get("cpu_engine") != INT8_STATIC or "gated_on" in content:
        return None
    return INT8, (
        f"engine {INT8} runs in float32, processor {processor}; {INT8_STATIC} was refused: its products "
        "saturate there; fine-tune again for a model that chooses by processor"
    )


@dataclass(frozen=True)
class Rules:
    """Hold the options of `loading.load_model` that an earlier model does not know; None: the default."""

    max_text_chars: int | None = None
    min_score: float | None = None
    probabilities: bool = False


def take_rules(options: dict[str, Any], folder: Path) -> Rules:
    """Return the options that are applied here, and remove those that the model does not know.

    Raises ModelLoadError for `target_accuracy`.
    """
    if options.pop("target_accuracy", None) is not None:
        raise ModelLoadError(
            "target_accuracy: the model was logged by an earlier version of this project, which measured no "
            "coverage; pass --min_score, or fine-tune again"
        )
    rules = Rules(**{field.name: options[field.name] for field in fields(Rules) if field.name in options})
    for name in {field.name for field in fields(Rules)} - find_options(folder):
        options.pop(name, None)
    return rules


class EarlierModel:
    """Offer `loading.LoadedModel` for a model whose own code does not.

    Such a model has two classes, and its scores are not calibrated. The oldest models do not state their
    mini-batch, padding or engine. The defaults here change the order in which the service scores requests,
    and no prediction. The rules are applied here: a text above `max_text_chars` is not passed to the model.
    """

    labels = schema.POLARITY_LABELS

    def __init__(
        self, pyfunc: Any, python_model: object, rules: Rules, engine_warning: str | None = None
    ) -> None:
        # Imported here, because only models of earlier versions need it.
        from ..inference import minibatches, rejects
        from ..inference.processor import find_processor

        self.columns = tuple(schema.list_prediction_types(self.labels, rules.probabilities))
        self.instruction_set = str(getattr(python_model, "instruction_set", find_processor().instruction_set))
        self.engine_warning = engine_warning or getattr(python_model, "engine_warning", None)
        self.engine = str(getattr(python_model, "engine", "unknown"))
        self.budget_tokens = int(getattr(python_model, "budget_tokens", _BUDGET_TOKENS))
        self._step_tokens = int(getattr(python_model, "step_tokens", _STEP_TOKENS))
        self._round_up = minibatches.round_up
        self._max_text_chars = rules.max_text_chars or rejects.MAX_TEXT_CHARS
        self._min_score = rules.min_score or 0.0
        self._find_reasons = rejects.find_reject_reasons
        self._pyfunc = pyfunc

    def row_cost(self, n_tokens: int) -> int:
        """Return about how many tokens of the budget a row of `n_tokens` tokens takes."""
        return int(self._round_up(np.array(n_tokens), self._step_tokens))

    def predict_columns(self, values: Sequence[Any]) -> Mapping[str, list[Any]]:
        """Return the model's predictions of `values`, a list per column, too long texts rejected."""
        reasons = self._find_reasons(values, self._max_text_chars)
        is_too_long = [reason == schema.TOO_LONG_TEXT for reason in reasons]
        # A null in its place keeps the order of the rows and costs nothing.
        shown = [None if is_hidden else v for v, is_hidden in zip(values, is_too_long, strict=True)]
        found = self._pyfunc.predict(pd.DataFrame({schema.TEXT: pd.Series(shown, dtype=object)}))
        found.loc[is_too_long, schema.REJECT_REASON] = schema.TOO_LONG_TEXT
        scores = pd.to_numeric(found[schema.SCORE])
        found[schema.UNSURE] = scores < self._min_score
        if schema.PROBABILITIES in self.columns:
            is_second = found[schema.LABEL] == self.labels[1]
            second = scores.where(is_second, 1 - scores)
            found[schema.PROBABILITIES] = [None if p != p else [1 - p, p] for p in second]
        return {name: found[name].tolist() for name in self.columns}
