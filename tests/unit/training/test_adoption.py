"""A classifier from elsewhere becomes a model that gives what transformers gives."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs import adopt as job
from sentiment import schema
from sentiment.cli import run_job
from sentiment.config import AdoptConfig
from sentiment.errors import ConfigError, UnusableLabelsError
from sentiment.inference.engines import list_cpu_engines
from sentiment.inference.engines.probabilities import to_probabilities
from sentiment.inference.predictor import Predictor
from sentiment.inference.processor import find_processor
from sentiment.inference.settings import load_settings
from sentiment.models import loading, registry
from sentiment.models.predictions import list_predictions
from sentiment.training import adoption, gate_texts
from sentiment.training.classifier_files import find_classifier
from sentiment.training.classifiers import load_classifier
from sentiment.training.gate_texts import BUILT_IN, GateTexts
from sentiment.training.packaging import save_encoder
from sentiment.training.quantization import EngineComparison
from tests.factories import make_reviews, make_tiny_encoder
from tests.families import TYPES, make_classifier

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
LABELS = {
    1: ("score",),
    2: ("negative", "positive"),
    3: ("negative", "neutral", "positive"),
    5: ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"),
    28: tuple(f"feeling {i}" for i in range(28)),
}
TEXTS = make_reviews(300)["text"].tolist()


def quiet(*_):
    pass


def score_in_transformers(folder, texts):
    """Return the probabilities that transformers computes in float32, text by text."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            tokens = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
            inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
            rows.append(model(**inputs).logits[0].double().numpy())
    return to_probabilities(np.array(rows))


# Two families run with all tests; the others take minutes.
QUICK = ("bert", "roberta")
KINDS = [
    pytest.param(kind, n, marks=[] if kind in QUICK else pytest.mark.reliability)
    for kind, n in zip(TYPES, [2, 3, 1, 5, 28, 1, 3, 2, 5], strict=True)
]


@pytest.mark.parametrize(("kind", "n"), KINDS)
def test_an_adopted_classifier_gives_what_transformers_gives(tmp_path, kind, n):
    original = make_classifier(tmp_path / "original", kind, LABELS[n])
    names = "0=negative,1=positive" if n == 1 else "config"
    encoder = load_classifier(find_classifier(str(original)), names)
    folder = tmp_path / "encoder"
    save_encoder(encoder, folder, 32)
    texts = GateTexts("some", "text", pd.DataFrame({"text": TEXTS}))
    adoption.compare(folder, texts, 1, quiet)
    predictor = Predictor(folder, probabilities=True)
    assert predictor.labels == (LABELS[2] if n == 1 else LABELS[n])
    found = predictor.predict(TEXTS)
    probabilities = np.array(found[schema.PROBABILITIES].tolist())
    few = slice(None, None, 5)
    theirs = score_in_transformers(original, TEXTS[few])
    # Weights of 8 bits may change the label of a text for which no label is clear.
    is_clear = theirs.max(axis=1) > 0.7
    same = (found[schema.LABEL][few] == np.array(predictor.labels)[theirs.argmax(axis=1)]).to_numpy()
    assert same[is_clear].all()
    # A tiny encoder is not sure of many labels; its probabilities are compared.
    assert n > 3 or is_clear.mean() > 0.8
    assert np.abs(probabilities[few] - theirs).sum(axis=1).mean() / 2 < 0.01
    one_by_one = pd.concat([predictor.predict([text]) for text in TEXTS[:20]], ignore_index=True)
    assert (one_by_one[schema.LABEL] == found[schema.LABEL][:20]).all()
    # As the parity bounds promise: products in bfloat16 differ a little in other company.
    shift = np.abs(one_by_one[schema.SCORE] - found[schema.SCORE][:20])
    assert np.median(shift) < 0.002
    assert shift.max() < 0.03
    assert found[schema.LABEL].nunique() > 1
    assert list_cpu_engines(load_settings(folder).cpu_engine, find_processor())[0] == predictor.engine


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, one_thread):
    """Make a classifier whose first class is the positive one."""
    folder = make_classifier(tmp_path_factory.mktemp("classifier"), "bert", ("POSITIVE", "NEGATIVE"))
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model: owner/base\n---\n")
    return folder


@pytest.fixture
def shop(tmp_path, classifier):
    """Return a folder with a classifier and labelled reviews."""
    shutil.copytree(classifier, tmp_path / "original")
    make_reviews(400).to_parquet(tmp_path / "reviews.parquet")
    return tmp_path


def run_command(shop, *more):
    arguments = [
        "--model",
        shop / "original",
        "--max_length",
        "32",
        "--summary",
        shop / "summary.json",
        *more,
    ]
    return run_job(AdoptConfig, shop / "none.yaml", job.run, job.show, [str(part) for part in arguments])


def test_the_job_registers_a_model_that_every_door_scores_with(shop, tracking, capsys, monkeypatch):
    import mlflow

    import score

    labelled = ("--reviews", shop / "reviews.parquet", "--label_col", "label", "--target_accuracy", "0.6")
    assert run_command(shop, *labelled, "--alias", "champion") == 0
    summary = json.loads((shop / "summary.json").read_text())
    assert summary["model_uri"] == "models:/sentiment/1"
    assert summary["labels"] == ["POSITIVE", "NEGATIVE"]
    assert summary["temperature"] != 1
    # The classifier has learned these reviews, in which 1 means positive.
    assert summary["test"]["accuracy"] > 0.9
    assert summary["gate"][-1]["accuracy_loss_points"] is not None
    printed = capsys.readouterr().out
    for fact in ("POSITIVE, NEGATIVE", "mit", "owner/base", summary["engine"], "accuracy"):
        assert fact in printed

    reference = registry.resolve_model("models:/sentiment@champion")
    assert reference.labels == ("POSITIVE", "NEGATIVE")
    [card] = reference.folder.glob("artifacts/*/README.md")
    assert "owner/base" in card.read_text()
    assert "Trained:" not in card.read_text()  # elsewhere, at an unknown time
    model = loading.load_model(reference)
    found = pd.DataFrame(list_predictions(model, TEXTS))
    plain = mlflow.pyfunc.load_model("models:/sentiment@champion").predict(pd.DataFrame({"text": TEXTS}))
    monkeypatch.setenv("SENTIMENT_MODEL_URI", "models:/sentiment@champion")
    score._load_champion.cache_clear()
    ours = pd.DataFrame(score.predict_sentiment(TEXTS))
    assert plain[schema.LABEL].tolist() == ours[schema.LABEL].tolist()
    assert found[schema.LABEL].tolist() == ours[schema.LABEL].tolist()
    assert np.abs(plain[schema.SCORE] - ours[schema.SCORE]).max() < 1e-6
    run = mlflow.get_run(summary["run_id"])
    assert run.data.params["licence"] == "mit"
    assert run.data.params["given_target_accuracy"] == "0.6"
    assert run.data.metrics["test_accuracy"] == summary["test"]["accuracy"]
    version = mlflow.models.Model.load("models:/sentiment@champion")
    assert version.metadata["base_model"] == "owner/base"
    assert version.metadata["adopted_from"] == str(shop / "original")
    assert version.metadata["license"] == "mit"


def test_a_dry_run_registers_nothing(shop, tracking, capsys):
    import mlflow

    assert run_command(shop, "--dry_run", "--reviews", shop / "reviews.parquet") == 0
    summary = json.loads((shop / "summary.json").read_text())
    assert (summary["model_uri"], summary["is_dry_run"], summary["test"]) == ("", True, None)
    assert summary["gate"][-1]["accuracy_loss_points"] is None
    assert [note for note in summary["notes"] if "not calibrated" in note]
    assert [note for note in summary["notes"] if "on only 400 reviews" in note]
    assert "dry run: nothing was registered" in capsys.readouterr().out
    assert not mlflow.MlflowClient().search_registered_models()


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--labels_from", "0=bad"], 2, "labels_from"),
        (["--max_length", "900"], 2, "reads at most 512"),
        (["--label_col", "label"], 2, "pass --reviews too"),
        (["--reviews", "x.parquet", "--target_accuracy", "0.9"], 2, "needs labelled reviews"),
        (["--reviews", "x.parquet"], 3, "no reviews at 'x.parquet'"),
        (["--reviews", "x.parquet", "--label_col", "label"], 3, "check --reviews"),
        (["--model", "/nowhere"], 4, "no folder at '/nowhere'"),
        (["--model", "models:/none/1"], 4, "or pass another --model\n"),
    ],
    ids=str,
)
def test_what_cannot_be_done_ends_the_job_with_a_sentence(shop, tracking, capsys, arguments, code, problem):
    assert run_command(shop, "--dry_run", *arguments) == code
    assert problem in capsys.readouterr().err


def test_an_unnamed_classifier_asks_for_names(shop, tracking, capsys):
    make_tiny_encoder(shop / "original", labels=("LABEL_0", "LABEL_1"))
    assert run_command(shop, "--dry_run") == 2
    assert '--labels_from "0=NAME,1=NAME"' in capsys.readouterr().err


def make_config(folder, **values):
    return AdoptConfig(model="any", reviews=str(folder / "reviews.parquet"), label_col="label", **values)


def test_labels_of_reviews_get_the_classes_of_the_model(tmp_path):
    make_reviews(200).to_parquet(tmp_path / "reviews.parquet")
    ours = gate_texts.load_gate_texts(make_config(tmp_path), ("negative", "positive"), quiet)
    config = make_config(tmp_path, label_map="0=negative;1=positive")
    theirs = gate_texts.load_gate_texts(config, ("positive", "neutral", "negative"), quiet)
    assert theirs.reviews["text"].tolist() == ours.reviews["text"].tolist()
    assert theirs.reviews["label"].tolist() == [{0: 2, 1: 0}[i] for i in ours.reviews["label"]]
    assert not set(ours.test["text"]) & set(ours.reviews["text"])
    assert [note for note in theirs.notes if "no review has the label neutral" in note]


def test_the_test_reviews_keep_what_slices_are_cut_by(tmp_path):
    make_reviews(200, category="books", secret="x").to_parquet(tmp_path / "reviews.parquet")
    found = gate_texts.load_gate_texts(make_config(tmp_path), ("negative", "positive"), quiet)
    assert list(found.test) == ["text", "category", "label"]
    assert list(found.reviews) == ["text", "label"]


def test_a_label_map_names_the_labels_of_the_model(tmp_path):
    make_reviews(200).to_parquet(tmp_path / "reviews.parquet")
    config = make_config(tmp_path, label_map="0=sad;1=glad")
    found = gate_texts.load_gate_texts(config, ("glad", "sad"), quiet)
    assert set(found.test["label"]) == {0, 1}
    with pytest.raises(UnusableLabelsError, match="are no labels of the model"):
        gate_texts.load_gate_texts(config, ("joy", "fear"), quiet)


def test_unlabelled_reviews_are_counted(tmp_path):
    texts = ["good", "good", None, " ", "bad"]
    pd.DataFrame({"body": texts}).to_parquet(tmp_path / "reviews.parquet")
    config = AdoptConfig(model="any", reviews=str(tmp_path / "reviews.parquet"), text_col="body")
    found = gate_texts.load_gate_texts(config, ("bad", "good"), quiet)
    assert sorted(found.reviews["text"]) == ["bad", "good"]
    assert (found.text_col, found.test) == ("body", None)
    assert "of 5 rows, 3 have no text of their own, 2 are compared" in found.notes


def test_the_texts_of_the_project_are_enough(monkeypatch):
    config = AdoptConfig(model="any")
    found = gate_texts.load_gate_texts(config, ("bad", "good"), quiet)
    assert len(found.reviews) == 2_000
    assert found.reviews["text"].is_unique
    assert found.reviews["text"].str.len().max() > 1_000  # whole reviews, not only sentences
    assert found.notes == ()

    def fail():
        raise gate_texts.InputError("no network")

    monkeypatch.setattr(gate_texts, "load_sample", fail)
    few = gate_texts.load_gate_texts(config, ("bad", "good"), quiet)
    assert len(few.reviews) == 40
    assert "only 40 texts" in few.notes[0]


def test_english_texts_are_a_weak_test_of_other_scripts(tmp_path, monkeypatch):
    encoder = load_classifier(
        find_classifier(str(make_tiny_encoder(tmp_path / "o", labels=("a", "b")))), "config"
    )
    folder = tmp_path / "encoder"
    save_encoder(encoder, folder, 32)
    vocabulary = {"scripts": ["CYRILLIC", "LATIN"], "unknown_id": 1}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    frame = pd.DataFrame({"text": TEXTS[:40]})
    adoption.compare(folder, GateTexts(BUILT_IN, "text", frame), 1, quiet)
    weak = "these texts are English, a weak test of a model that also reads CYRILLIC: pass --reviews"
    assert weak in load_settings(folder).cpu_engine_reason
    adoption.compare(folder, GateTexts("reviews.parquet", "text", frame), 1, quiet)
    assert weak not in load_settings(folder).cpu_engine_reason


def test_an_encoder_that_cannot_be_exported_gets_the_reference_engine(shop, tracking, monkeypatch):
    from sentiment.errors import EncoderUnavailableError
    from sentiment.training import quantization

    def fail(folder: Path) -> None:
        raise EncoderUnavailableError("OpenVINO cannot convert it")

    monkeypatch.setattr(quantization, "export_graph", fail)
    config = AdoptConfig(model=str(shop / "original"), reviews=str(shop / "reviews.parquet"), dry_run=True)
    found = adoption.adopt(config, quiet)
    assert (found.engine, found.engine_reason, found.gate) == ("reference", "OpenVINO cannot convert it", ())
    assert job.show(found.as_dict())


def test_a_gate_without_labels_needs_the_other_bounds():
    within = EngineComparison("int8", 2_000, None, 0.004, 0.001)
    assert within.is_passed
    assert "accuracy not compared (no labels)" in str(within)
    assert "int8_accuracy_loss_points" not in within.as_metrics()
    assert not EngineComparison("int8", 2_000, None, 0.006, 0.001).is_passed


@pytest.mark.parametrize(
    "values",
    [
        {"label_scheme": "names"},
        {"label_map": "0=a"},
        {"reviews": "x", "label_col": "y", "label_map": "0=a", "label_scheme": "names"},
        {"reviews": "x", "label_col": "y", "min_score": 0.5, "target_accuracy": 0.5},
        {"labels_from": " "},
        {"alias": "latest"},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(values):
    from sentiment.config import load_config

    with pytest.raises(ConfigError):
        load_config(AdoptConfig, None, {"model": "any", **values})


@pytest.mark.parametrize(
    "names",
    [
        ("--labels_from", "0=negative,1=positive"),
        pytest.param(("--label_map", "0=POSITIVE;1=NEGATIVE"), marks=pytest.mark.reliability),
    ],
    ids=str,
)
def test_exchanged_labels_end_the_job(shop, tracking, capsys, names):
    labelled = ("--reviews", shop / "reviews.parquet", "--label_col", "label")
    assert run_command(shop, *labelled, *names) == 3
    assert "fewer than chance (1 of 2)" in capsys.readouterr().err
    assert not registry.import_mlflow().MlflowClient().search_registered_models()


def test_a_file_without_header_is_read_with_its_names(shop, tracking):
    make_reviews(400)[["label", "text"]].to_csv(shop / "reviews.csv", index=False, header=False, sep=";")
    form = ("--reviews", shop / "reviews.csv", "--column_names", "label,text", "--delimiter", ";")
    assert run_command(shop, *form, "--label_col", "label", "--dry_run") == 0
    notes = json.loads((shop / "summary.json").read_text())["notes"]
    assert "meaning of the label values: 0: NEGATIVE, 1: POSITIVE" in notes
    assert [note for note in notes if note.startswith("of 400 rows, not used: ")]
    assert run_command(shop, *form, "--dry_run") == 0


RUSSIAN = [f"очень {word} работает {i}" for i in range(60) for word in ("хорошо", "плохо")]


@pytest.mark.parametrize("labelled", [True, False])
def test_reviews_that_the_model_cannot_read_end_the_job(shop, tracking, capsys, labelled):
    pd.DataFrame({"text": RUSSIAN, "label": [1, 0] * 60}).to_parquet(shop / "russian.parquet")
    more = ("--label_col", "label") if labelled else ()
    assert run_command(shop, "--reviews", shop / "russian.parquet", *more, "--dry_run") == 3
    message = capsys.readouterr().err
    assert "russian.parquet: the model can read none of" in message
    assert "pass --reviews with texts in a language of the model" in message
    assert "работает" not in message


def test_reviews_that_the_model_cannot_read_are_not_compared(shop, tracking):
    texts = [*RUSSIAN, *TEXTS]
    pd.DataFrame({"text": texts}).to_parquet(shop / "mixed.parquet")
    assert run_command(shop, "--reviews", shop / "mixed.parquet", "--dry_run") == 0
    summary = json.loads((shop / "summary.json").read_text())
    assert {comparison["rows"] for comparison in summary["gate"]} == {300}
    assert "the engines were compared on 300 of 420 reviews: the model rejects the others" in summary["notes"]
    assert [note for note in summary["notes"] if "on only 300 reviews" in note]
    assert "on 300 reviews" in summary["engine_reason"]
