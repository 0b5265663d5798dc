"""The packaged model as any MLflow user meets it."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from sentiment import schema
from sentiment.config import FinetuneConfig
from sentiment.errors import ConfigError
from sentiment.evaluation.profile import load_profile
from sentiment.models import registry
from sentiment.models.artifacts import find_artifact
from sentiment.models.integrity import make_record
from sentiment.training import packaging
from sentiment.training.packaging import list_requirements
from tests.factories import make_reviews

pytestmark = pytest.mark.slow

TEXTS = ["great phone", None, " ", 7, "awful battery"]


@pytest.fixture
def model(use_tiny_model):
    return mlflow.pyfunc.load_model(use_tiny_model.uri)


@pytest.fixture
def folder(use_tiny_model):
    return registry.resolve_model(use_tiny_model.uri).folder


def test_every_form_of_input_gives_the_same_predictions(model):
    expected = model.predict(pd.DataFrame({"text": pd.Series(TEXTS, dtype=object)}))
    assert expected[schema.REJECT_REASON].tolist() == [
        None,
        schema.NULL_TEXT,
        schema.BLANK_TEXT,
        schema.NOT_TEXT,
        None,
    ]
    for form in (
        TEXTS,
        pd.Series(TEXTS, name="text", dtype=object),
        pd.DataFrame({"id": range(5), "text": pd.Series(TEXTS, dtype=object)}),
        pd.DataFrame({"text": TEXTS}, index=[9, 3, 9, 1, 0], dtype=object),
    ):
        pd.testing.assert_frame_equal(model.predict(form), expected)


def test_mlflow_evaluates_the_model_as_it_is(use_tiny_model):
    reviews = make_reviews(40)
    reviews["truth"] = [schema.POLARITY_LABELS[i] for i in reviews["label"]]
    found = mlflow.models.evaluate(
        use_tiny_model.uri,
        reviews[["text", "truth"]],
        targets="truth",
        model_type="classifier",
        model_config={"output": "label"},
    )
    ours = mlflow.pyfunc.load_model(use_tiny_model.uri).predict(reviews[["text"]])["label"]
    assert found.metrics["accuracy_score"] == (ours == reviews["truth"]).mean()
    with pytest.raises(ValueError, match="expected one of label, score"):
        mlflow.pyfunc.load_model(use_tiny_model.uri, model_config={"output": "stars"})


def test_a_column_of_numbers_is_rejected_row_by_row(model):
    predictions = model.predict(pd.DataFrame({"text": [1, 2]}))
    assert predictions[schema.REJECT_REASON].tolist() == [schema.NOT_TEXT] * 2


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": TEXTS},
        {"instances": TEXTS},
        {"dataframe_split": {"columns": ["text"], "data": [[t] for t in TEXTS]}},
        {"dataframe_records": [{"text": t} for t in TEXTS]},
    ],
)
def test_each_of_mlflows_json_forms_is_understood(model, body):
    from mlflow.pyfunc.scoring_server import invocations

    answer = invocations(json.dumps(body), "application/json", model, model.metadata.get_input_schema())
    assert answer.status == 200
    predictions = json.loads(answer.response)["predictions"]
    assert [p["reject_reason"] for p in predictions] == [None, "null_text", "blank_text", "not_text", None]
    assert predictions[1]["score"] is None
    assert predictions[0]["label"] == "positive"
    assert predictions[4]["label"] == "negative"


def test_a_frame_without_text_is_an_error_that_quotes_nothing(model):
    with pytest.raises(ValueError, match="no column 'text'") as caught:
        model.predict(pd.DataFrame({"review": ["a secret"]}))
    assert "secret" not in str(caught.value)


def test_the_model_says_what_it_is(model):
    metadata = model.metadata
    assert metadata.metadata["text_col"] == "text"
    assert metadata.metadata["max_length"] == 32
    assert [column.name for column in metadata.signature.outputs] == list(schema.PREDICTION_COLUMNS)
    assert metadata.saved_input_example_info is not None
    logged = mlflow.get_logged_model(metadata.model_id)
    assert logged.tags["license"] == "unknown"  # the tiny encoder states none


def test_requirements_are_exact_and_enough(folder):
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert lines == list_requirements("int8")
    names = [line.partition("==")[0] for line in lines]
    assert names == ["mlflow", "numpy", "openvino", "pandas", "safetensors", "tokenizers"]
    assert all("==" in line and "+" not in line for line in lines)


def test_a_model_without_a_graph_requires_torch():
    names = {line.partition("==")[0] for line in list_requirements("reference")}
    assert {"torch", "transformers"} <= names


def test_the_model_carries_weights_as_safetensors_and_nothing_pickled(folder):
    files = {p.name for p in (folder / "artifacts" / "encoder").iterdir()}
    graphs = {"graph.xml", "graph.bin", "static.xml", "static.bin"}
    assert files - graphs == {
        *("config.json", "model.safetensors", "tokenizer.json", "vocabulary.json"),
        *("inference.json", "selfcheck.json", "README.md", "profile.json"),
    }
    assert {"graph.xml", "graph.bin"} <= files
    pickles = [p for p in folder.rglob("*") if p.suffix in {".pkl", ".bin", ".pt"} and p.name not in graphs]
    assert not pickles


def test_the_model_carries_the_profile_of_its_test_set(folder):
    profile = load_profile(find_artifact(folder, "profile.json"))
    assert profile.scored_rows > 0
    assert {"n_chars", "n_tokens", "upper_share", "chars_per_token"} <= profile.figures.keys()
    assert all(scores.right is not None for scores in profile.scores.values())
    # A digest of a text could be found again.
    assert profile.digests is None
    assert find_artifact(folder, "other.json") is None


def test_all_that_runs_and_all_weights_are_compared_with_what_was_logged(use_tiny_model, tiny_encoder):
    recorded = registry.resolve_model(use_tiny_model.uri).files
    with packaging._carried_code() as code:
        given = packaging._digest_logged(tiny_encoder, code)
    ran = {path: digest for path, digest in recorded.items() if path.endswith(".py")}
    assert len(ran) > 10
    assert ran.items() <= given.items()
    weights = {f"artifacts/{tiny_encoder.name}/{path}" for path in make_record(tiny_encoder)}
    assert set(given) == {*ran, *weights}


def test_the_model_carries_inference_code_alone_under_a_name_of_its_own(folder):
    packages = [p for p in (folder / "code").iterdir() if p.is_dir()]
    assert [p.name.startswith("sentiment_model_") for p in packages] == [True]
    carried = {str(p.relative_to(packages[0])) for p in packages[0].rglob("*.py")}
    assert carried == {
        "__init__.py",
        "schema.py",
        *(str(path.relative_to("sentiment")) for path in Path("sentiment/inference").rglob("*.py")),
    }


def test_the_model_loads_where_the_project_is_not_installed(folder, tmp_path):
    script = textwrap.dedent(
        f"""
        import sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "sentiment":
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Block())
        import mlflow
        model = mlflow.pyfunc.load_model({str(folder)!r})
        predictions = model.predict(["great phone", "awful battery"])
        print(",".join(predictions["label"]))
        unwanted = {{"sentiment", "datasets", "matplotlib", "torch", "transformers", "sklearn"}}
        print(sorted(unwanted & set(sys.modules)))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["positive,negative", "[]"]


def test_a_signing_key_that_cannot_be_used_is_found_before_anything_is_read(tmp_path):
    pytest.importorskip("model_signing", reason="NOT RUN: the extra `signing` is not installed")
    from sentiment.training.finetuning import finetune

    config = FinetuneConfig(signing_key=str(tmp_path / "none.pem"), dataset_name="/no/such/table.parquet")
    with pytest.raises(ConfigError, match="signing_key: cannot read"):
        finetune(config, lambda *_: None)
