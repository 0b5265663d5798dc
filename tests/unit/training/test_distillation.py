"""A teacher labels reviews without labels, and an encoder is trained on these and the labelled ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from sentiment.config import FinetuneConfig
from sentiment.errors import EmptyInputError
from sentiment.models import registry
from sentiment.training.checkpoints import Checkpoints
from sentiment.training.data.reading import load_labelled_reviews
from sentiment.training.distillation import _add_linear, _fit_linear, distil
from sentiment.training.encoders import load_encoder
from sentiment.training.finetuning import finetune
from sentiment.training.runs import Training
from sentiment.training.unlabelled import load_unlabelled
from tests.factories import make_reviews, make_splits, make_tiny_encoder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
UNKNOWN = "\u65e5\u672c\u8a9e " * 4  # the tiny encoder has no token for it


class KilledError(Exception):
    pass


@pytest.fixture
def config(tmp_path):
    encoder = make_tiny_encoder(tmp_path / "encoder", initializer_range=0.05)
    rows = make_reviews(300)
    rows[:120].to_parquet(tmp_path / "labelled.parquet")
    # Of the 120 labelled ones, 20 come again, one of them in capitals.
    texts = [rows["text"][100].upper(), *rows["text"][101:300], rows["text"][299], "", UNKNOWN]
    rows[:1].loc[[0] * len(texts), ["review_id"]].assign(text=texts).to_parquet(tmp_path / "others.parquet")
    return FinetuneConfig(
        dataset_name=str(tmp_path / "labelled.parquet"),
        unlabelled=str(tmp_path / "others.parquet"),
        distilbert_model=str(encoder),
        lr=3e-3,
        epochs=2,
        max_length=32,
        evaluations=1,
        cascade="off",
    )


def teach(config, folder, kill_at=None):
    """Distil with checkpoints in a folder; return weights, counts and the stages, in their order."""
    reviews = load_labelled_reviews(config)
    (folder / "read").mkdir(parents=True, exist_ok=True)
    unlabelled = load_unlabelled(config.unlabelled, reviews, folder / "read")
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
    stages = {}

    def progress(stage, done, total, note):
        stages[stage] = None
        if stage == kill_at and done > 1:
            raise KilledError

    place = Checkpoints(folder / "kept")
    place.folder.mkdir(exist_ok=True)
    training = Training(reviews.splits, config, place, None, progress)
    _, counts = distil(encoder, training, reviews.splits, unlabelled)
    return encoder.model.state_dict(), counts, list(stages)


STAGES = ["teacher, fine-tuning", "labelling reviews", "fine-tuning"]


def test_all_reviews_are_labelled_or_counted_by_reason(config, tmp_path):
    _, counts, stages = teach(config, tmp_path)
    assert counts.rows == 180
    assert counts.unused == {"labelled already": 20, "duplicate": 1, "blank_text": 1, "unknown_text": 1}
    assert stages == STAGES


@pytest.mark.reliability
def test_a_damaged_file_of_labels_is_made_again(config, tmp_path):
    often = replace(config, checkpoint_minutes=1e-6)
    with pytest.raises(KilledError):
        teach(often, tmp_path, "fine-tuning")
    with (tmp_path / "kept" / "labelled" / "rows.arrow").open("ab") as file:
        file.write(b"damaged")
    assert teach(often, tmp_path)[2] == STAGES[1:]


def test_a_text_of_which_the_linear_model_knows_no_word_is_labelled_by_the_encoder_only(config, tmp_path):
    """The linear model would answer with the shares of the classes."""
    rows = pd.DataFrame({"text": ["great thing"] * 9 + ["bad thing"] * 3, "label": [1] * 9 + [0] * 3})
    linear = _fit_linear(make_splits(rows, rows, rows), 0, 2)
    given = np.array([[0.8, 0.2], [0.8, 0.2]])
    assert _add_linear(given, ["wholly unknown", "great thing"], linear).tolist() == [False, True]
    assert given[0].tolist() == [0.8, 0.2]
    assert given[1, 1] > 0.5
    assert given.sum(axis=1) == pytest.approx(1)


def test_labelled_reviews_without_a_common_word_give_no_linear_model():
    rows = pd.DataFrame({"text": [f"word{i}" for i in range(20)], "label": [0, 1] * 10})
    assert _fit_linear(make_splits(rows, rows, rows), 0, 2) is None


def test_the_labels_are_the_mean_of_both_models(config, tmp_path, monkeypatch):
    seen = {}

    def train(encoder, training):
        seen[len(seen)] = training.splits.train
        return []

    monkeypatch.setattr("sentiment.training.trainer.train_encoder", train)
    teach(config, tmp_path)
    given, taught = seen[0], seen[1]
    labels = np.array(taught["label"][:])
    assert labels.shape == (len(given) + 180, 2)
    assert labels[: len(given)].tolist() == np.eye(2)[given["label"][:]].tolist()
    assert np.allclose(labels.sum(axis=1), 1, atol=1e-6)
    # The encoder was not trained and is unsure, so the linear model decides the side.
    texts = taught["text"][len(given) :]
    truth = dict(zip(make_reviews(300)["text"], make_reviews(300)["label"], strict=True))
    is_right = labels[len(given) :].argmax(axis=1) == [truth[text] for text in texts]
    assert is_right.mean() > 0.9
    assert labels[len(given) :].max() < 0.9


# The teacher's weights are kept as soon as it is trained.
@pytest.mark.parametrize(
    ("kill_at", "repeated"),
    [
        pytest.param("labelling reviews", STAGES[1:], marks=pytest.mark.reliability),
        ("fine-tuning", STAGES[2:]),
    ],
)
def test_a_killed_run_repeats_only_what_was_not_done(config, tmp_path, kill_at, repeated):
    undisturbed, counts, _ = teach(config, tmp_path / "undisturbed")
    often = replace(config, checkpoint_minutes=1e-6)
    with pytest.raises(KilledError):
        teach(often, tmp_path / "killed", kill_at)
    weights, found, stages = teach(often, tmp_path / "killed")
    assert stages == repeated
    assert found == counts
    assert all(torch.equal(weights[name], expected) for name, expected in undisturbed.items())


def test_reviews_of_which_none_is_new_are_an_error(config, tmp_path):
    reviews = load_labelled_reviews(config)
    file = tmp_path / "test.parquet"
    reviews.splits.test.to_parquet(file)
    n = len(reviews.splits.test)
    with pytest.raises(EmptyInputError, match=f"none of its {n} rows .*'labelled already': {n}"):
        load_unlabelled(str(file), reviews, tmp_path)


def test_a_registered_model_states_what_its_teacher_labelled(config, tracking, tmp_path):
    summary = finetune(replace(config, checkpoint_dir=str(tmp_path / "kept")), lambda *_: None)
    assert summary.distillation.rows == 180
    run = registry.import_mlflow().get_run(summary.run_id)
    assert run.data.metrics["unlabelled_rows"] == 180
    assert run.data.metrics["unlabelled_rows_unused"] == 23
    assert run.data.params["unlabelled"] == config.unlabelled
