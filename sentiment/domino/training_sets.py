"""Register test reviews, without their text, as Domino's baseline for drift.

The client is `domino_data.training_sets` of the package dominodatalab-data (6.7.4, read on 2026-11-28); its
manual is https://docs.dominodatalab.com/en/latest/user_guide/440a04/training-sets.
"""

import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .. import schema
from .capture import FEATURES, describe_features

PACKAGE = "domino_data"
PROJECT_VARIABLE = "DOMINO_PROJECT_ID"
# Domino keeps a copy of the rows; so many show a distribution.
MAX_ROWS = 2_000
_CATEGORICAL = (schema.TRUNCATED, schema.LABEL)


def is_available(environment: Mapping[str, str]) -> bool:
    """Return whether this is a Domino run that has the client."""
    return bool(environment.get(PROJECT_VARIABLE)) and importlib.util.find_spec(PACKAGE) is not None


def describe_reviews(
    texts: Sequence[str], labels: Sequence[str], predictions: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Return the monitored features of each scored text, and its label, which is the target.

    Rejects are left out: no prediction of them is captured either.
    """
    rows = [
        describe_features(text, prediction) | {schema.LABEL: label}
        for text, label, prediction in zip(texts, labels, predictions, strict=True)
        if prediction[schema.LABEL] is not None
    ]
    return pd.DataFrame(rows, columns=[*FEATURES, schema.LABEL])


def register_baseline(rows: pd.DataFrame, model_name: str, facts: Mapping[str, str]) -> str:
    """Register the rows as a new version of the training set of the model; return `name version number`.

    `facts` are kept with the version. Raises whatever the client raises, which it does not document.
    """
    client = importlib.import_module(f"{PACKAGE}.training_sets.client")
    model = importlib.import_module(f"{PACKAGE}.training_sets.model")
    version = client.create_training_set_version(
        # Domino allows letters, digits, dash and underscore.
        training_set_name=re.sub(r"[^-A-Za-z0-9_]", "_", model_name),
        df=rows,
        description="features and labels of test reviews, without text",
        target_columns=[schema.LABEL],
        monitoring_meta=model.MonitoringMeta(categorical_columns=list(_CATEGORICAL)),
        meta=dict(facts),
    )
    return f"{version.training_set_name} version {version.number}"
