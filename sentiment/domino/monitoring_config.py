"""Write the Monitoring Config JSON that registers scored tables, or their ground truth, with Domino.

Usage: `python -m sentiment.domino.monitoring_config KIND …`; see docs/domino.md. Structure and types are of
https://docs.dominodatalab.com/en/cloud/user_guide/bb88ca/monitoring-config-json (read on 2026-11-28).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .. import schema

MODEL, PREDICTION, GROUND_TRUTH = "model", "prediction", "ground_truth"
# The name that a table of right labels gives their column.
TRUE_LABEL = "true_label"
_FEATURES = {schema.N_TOKENS: "numerical", schema.TRUNCATED: "categorical", schema.SCORE: "numerical"}


def make_config(
    kind: str, id_col: str, dataset: Mapping[str, str], model: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the configuration of a kind.

    `model`: the training rows, which are the baseline; the variables are declared there. `prediction`: the
    batches of a store. `ground_truth`: a table of `id_col` and `true_label`. `dataset` has path, source and
    source_type; `model` has name, version and author, and is for the kind `model` only.
    """
    config: dict[str, Any] = {
        "variables": _list_variables(kind, id_col),
        "datasetDetails": {
            "name": dataset["path"].rstrip("/").rpartition("/")[2],
            "datasetType": "file",
            "datasetConfig": {"path": dataset["path"], "fileFormat": "parquet"},
            "datasourceName": dataset["source"],
            "datasourceType": dataset["source_type"],
        },
    }
    if model is not None:
        config["modelMetadata"] = {
            "name": model["name"],
            "modelType": "classification",
            "version": model["version"],
            "description": "sentiment of product reviews",
            "author": model["author"],
        }
    return config


def _list_variables(kind: str, id_col: str) -> list[dict[str, str]]:
    key = _declare(id_col, "row_identifier", "string")
    if kind == GROUND_TRUTH:
        target = _declare(TRUE_LABEL, "ground_truth", "categorical")
        return [key, target | {"forPredictionOutput": schema.LABEL}]
    if kind == PREDICTION:
        return [key, _declare(schema.SCORED_AT, "timestamp", "datetime")]
    features = [_declare(name, "feature", value_type) for name, value_type in _FEATURES.items()]
    return [*features, _declare(schema.LABEL, "prediction", "categorical")]


def _declare(name: str, variable_type: str, value_type: str) -> dict[str, str]:
    return {"name": name, "variableType": variable_type, "valueType": value_type}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a configuration."""
    parser = argparse.ArgumentParser(description="Print a Monitoring Config JSON for Domino.")
    parser.add_argument("kind", choices=(MODEL, PREDICTION, GROUND_TRUTH))
    parser.add_argument("--path", required=True, help="Parquet file or folder, as the data source names it")
    parser.add_argument("--source", required=True, help="name of the data source in the Model Monitor")
    parser.add_argument("--source_type", default="s3", help="its type (s3)")
    parser.add_argument("--id_col", default="review_id", help="column that joins with the ground truth")
    parser.add_argument("--name", help="kind model: name of the model")
    parser.add_argument("--version", help="kind model: its version")
    parser.add_argument("--author", default="", help="kind model: who answers for it")
    arguments = parser.parse_args(argv)
    if (arguments.kind == MODEL) != bool(arguments.name and arguments.version):
        parser.error("--name and --version belong to the kind model, and only to it")
    model = {key: getattr(arguments, key) for key in ("name", "version", "author")}
    dataset = {key: getattr(arguments, key) for key in ("path", "source", "source_type")}
    made = make_config(arguments.kind, arguments.id_col, dataset, model if arguments.kind == MODEL else None)
    print(json.dumps(made, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
