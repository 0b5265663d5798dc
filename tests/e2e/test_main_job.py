"""Fine-tune, score in Spark and online: the predictions are the same, no row is lost, the model behaves.

The last part tests behaviour that any sentiment model must have: minimum functionality, invariance and
direction, after M. T. Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList",
ACL 2020. The model here is the demo's, tuned on 2,400 sentences, so texts are plain: of two sentences that
disagree it hears only one. It is one file, because the tests of a file run in one process, and the job takes
minutes.
"""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest

import score
from sentiment.inference.processor import SATURATING, find_processor
from tests.e2e.conftest import BIN, run_command, run_python
from tests.factories import make_reviews

PLAIN = {
    "positive": ["I love it.", "great product, works perfectly", "excellent sound and very easy to use"],
    "negative": ["I hate it.", "terrible product, it stopped working", "poor quality and a waste of money"],
}


def assert_same_answers(found, expected):
    """Check that labels and scores agree, except for the small changes by other reviews in a mini-batch."""
    found, expected = (
        np.where(rows["label"] == "positive", rows["score"], 1 - rows["score"]) for rows in (found, expected)
    )
    shift = np.abs(found - expected)
    assert np.quantile(shift, 0.99) <= 0.002
    assert shift.max() <= 0.03
    flipped = (found >= 0.5) != (expected >= 0.5)
    assert (np.abs(expected[flipped] - 0.5) <= 0.03).all()


def test_no_row_of_the_sample_is_lost(main_job):
    summary = main_job.score
    assert summary["input_rows"] == summary["scored_rows"] + summary["rejected_rows"] == 3708
    assert len(main_job.scores) == summary["scored_rows"]
    assert main_job.scores["review_id"].is_unique
    assert set(main_job.scores["review_id"]) <= set(main_job.reviews.index)


def test_the_summaries_have_what_schedulers_read(main_job):
    expected = {
        *("input_rows", "scored_rows", "rejected_rows", "rows_per_second", "seconds"),
        *("model_loads", "python_workers", "model_version", "output"),
    }
    assert expected <= main_job.score.keys()
    assert {"model_uri", "model_version", "test", "baselines", "train_rows", "seconds"} <= (
        main_job.finetune.keys()
    )
    assert {"accuracy", "f1_weighted", "roc_auc"} <= main_job.finetune["test"].keys()
    assert main_job.finetune["baselines"].keys() == {"majority", "lexicon"}


def test_the_model_is_loaded_at_most_once_a_worker(main_job):
    assert 1 <= main_job.score["model_loads"] <= main_job.score["python_workers"]


def test_tuning_beats_both_baselines(main_job):
    accuracy = main_job.finetune["test"]["accuracy"]
    assert accuracy > main_job.finetune["baselines"]["majority"]["accuracy"] + 0.1
    assert accuracy > main_job.finetune["baselines"]["lexicon"]["accuracy"]


def test_the_tables_that_people_read_are_printed(main_job):
    for words in ("minilm, fine-tuned", "majority class", "VADER lexicon", "models:/sentiment/1"):
        assert words in main_job.finetune_output
    for words in ("rows read", "3,708", "negative", "positive", "rejected", "model version"):
        assert words in main_job.score_output


def test_the_run_is_logged_whatever_the_originals_switches_say(main_job):
    client = mlflow.MlflowClient(main_job.tracking_uri)
    version = client.get_model_version_by_alias("sentiment", "champion")
    run = client.get_run(version.run_id)
    assert run.data.params["distilbert_model"] == "minilm"
    assert len(run.data.params["data_digest"]) == 16
    assert run.data.params["train_rows"] == str(main_job.finetune["train_rows"])
    assert run.data.metrics["test_accuracy"] == main_job.finetune["test"]["accuracy"]
    assert {
        "loss",
        "eval_f1",
        "test_f1_label_negative",
        "baseline_lexicon_accuracy",
    } <= run.data.metrics.keys()
    assert len(client.get_metric_history(version.run_id, "eval_f1")) >= 4
    pictures = {artifact.path for artifact in client.list_artifacts(version.run_id)}
    assert {"confusion_matrix.png", "learning_curve.png"} <= pictures


def test_batch_equals_online(main_job, tmp_path):
    sampled = main_job.scores.sample(200, random_state=1)
    path = tmp_path / "reviews.txt"
    path.write_text("\n".join(main_job.reviews.loc[sampled["review_id"], "text"]) + "\n")
    done = run_python("score.py", "--json", "--eval_path", path, MLFLOW_TRACKING_URI=main_job.tracking_uri)
    assert done.returncode == 0, done.stderr
    online = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["n_tokens"] for row in online] == sampled["n_tokens"].tolist()
    assert_same_answers(pd.DataFrame(online), sampled)


def test_the_model_says_which_engine_it_carries_and_why(main_job):
    assert main_job.finetune["engine"] in ("int8_static", "int8", "bf16")
    assert "accuracy loss" in main_job.finetune["engine_reason"]
    # Where int8 products saturate, the int8 graph is computed in float32.
    is_saturating = find_processor().instruction_set in SATURATING
    assert main_job.score["engines"] == ["f32" if is_saturating else main_job.finetune["engine"]]
    client = mlflow.MlflowClient(main_job.tracking_uri)
    run = client.get_run(client.get_model_version_by_alias("sentiment", "champion").run_id)
    compared = "f32" if is_saturating else "int8_static"
    assert run.data.metrics[f"{compared}_flip_share"] <= 0.02
    assert main_job.finetune["cascade"]["threshold"] is None  # there are too few validation reviews
    pictures = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"length_accuracy_cost.png", "cascade.png"} <= pictures


def test_mlflows_own_udf_equals_the_job(main_job, tmp_path):
    script = tmp_path / "udf.py"
    script.write_text(
        "import sys, mlflow\n"
        "from pyspark.sql import SparkSession\n"
        "from sentiment.training.data.sample import load_sample\n"
        "spark = SparkSession.builder.master('local[2]').config('spark.ui.enabled', 'false').getOrCreate()\n"
        "reviews = spark.createDataFrame(load_sample()[['review_id', 'text']].head(200))\n"
        "predict = mlflow.pyfunc.spark_udf(spark, 'models:/sentiment@champion', env_manager='local',\n"
        "                                  result_type='label string, score double')\n"
        "rows = reviews.select('review_id', predict('text').alias('p')).select('review_id', 'p.*')\n"
        "rows.toPandas().to_parquet(sys.argv[1])\n"
    )
    done = run_python(script, tmp_path / "udf.parquet", MLFLOW_TRACKING_URI=main_job.tracking_uri)
    assert done.returncode == 0, done.stderr[-2000:]
    udf = pd.read_parquet(tmp_path / "udf.parquet").set_index("review_id")
    job = main_job.scores.set_index("review_id").loc[udf.index]
    assert len(udf) == 200
    assert_same_answers(udf, job)


@pytest.fixture(scope="module")
def run_without_ids(main_job, tmp_path_factory):
    """Score 20 reviews, two of them without id, and record the modules that the driver imported."""
    folder = tmp_path_factory.mktemp("null-ids")
    reviews = make_reviews(20)
    reviews.loc[[2, 9], "review_id"] = None
    reviews.to_parquet(folder / "reviews.parquet")
    arguments = ["--input", folder / "reviews.parquet", "--output", folder / "scores"]
    arguments += ["--max_reject_share", "0.1"]
    script = (
        "import runpy, sys\n"
        f"sys.argv = {['score_reviews.py', *map(str, arguments)]!r}\n"
        "try:\n"
        "    runpy.run_path('jobs/score_reviews.py', run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0, stop.code\n"
        "names = ('torch', 'transformers', 'datasets', 'sentiment.training', 'sentiment.inference')\n"
        "print('LOADED', [name for name in names if name in sys.modules])\n"
    )
    return run_python("-c", script, MLFLOW_TRACKING_URI=main_job.tracking_uri), folder / "scores"


def test_the_spark_driver_imports_neither_torch_nor_training(run_without_ids):
    done, _ = run_without_ids
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr


def test_rows_without_an_id_are_rejected_and_said(run_without_ids):
    done, scores = run_without_ids
    assert "warning: 2 rows have no review_id: rejected as null_id" in done.stderr.splitlines()
    assert len(pd.read_parquet(scores)) == 18
    assert len(pd.read_parquet(next(scores.glob("model=1/batch=*/_rejected")))) == 2


def test_the_master_given_to_spark_submit_is_the_one_used(tmp_path):
    script = tmp_path / "master.py"
    script.write_text(
        "from sentiment.tables.session import build_session\n"
        "print('master', build_session('x').sparkContext.master)\n"
    )
    done = run_command(BIN / "spark-submit", "--master", "local[1]", script)
    assert "master local[1]" in done.stdout.splitlines()


@pytest.fixture(scope="module")
def predict(main_job):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", main_job.tracking_uri)
        patch.setenv("SENTIMENT_MODEL_URI", main_job.finetune["model_uri"])
        score._load_champion.cache_clear()
        yield score.predict_sentiment
    score._load_champion.cache_clear()


def probability(prediction):
    """Return the probabilities of positive."""
    return prediction["score"] if prediction["label"] == "positive" else 1 - prediction["score"]


@pytest.mark.parametrize("label", sorted(PLAIN))
def test_plain_reviews_get_their_label(predict, label):
    assert [p["label"] for p in predict(PLAIN[label])] == [label] * 3


@pytest.mark.parametrize("text", [text for texts in PLAIN.values() for text in texts])
def test_case_names_and_white_space_do_not_change_the_label(predict, text):
    variants = [
        text,
        text.upper(),
        f"  {text}\n",
        f"{text} Bought in Boston.",
        text.replace("product", "phone"),
    ]
    assert len({p["label"] for p in predict(variants)}) == 1


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ("The camera is bad.", "The camera is good."),
        ("I hate the battery.", "I love the battery."),
        ("It does not work.", "It works."),
        ("It is not good at all.", "It is good."),
    ],
)
def test_a_better_word_raises_the_probability_of_positive(predict, worse, better):
    low, high = (probability(p) for p in predict([worse, better]))
    assert high > low + 0.1


def test_the_empty_and_the_absurdly_long_are_answered(predict):
    blank, long = predict(["   ", "great " * 20_000])
    assert blank["reject_reason"] == "blank_text"
    assert (long["label"], long["truncated"], long["n_tokens"]) == ("positive", True, 64)


def test_a_misspelled_complaint_with_its_stars_is_negative(predict):
    """Use the example of the original template, with its spelling mistake."""
    assert predict("The item came damanged, 1 star.")["label"] == "negative"
