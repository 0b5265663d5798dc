"""Calibration and the score to act on are fitted on validation and stored in the model."""

import shutil

import numpy as np
import pandas as pd
import pytest

from sentiment import schema
from sentiment.config import FinetuneConfig
from sentiment.evaluation.calibration import measure_calibration_error
from sentiment.inference.predictor import Predictor
from sentiment.inference.settings import load_settings
from sentiment.training import optimization
from tests.factories import make_judged, make_reviews, make_splits


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def overconfident():
    """2,000 reviews with scores of 0.7 to 1, of which a few less are right; the last one is a reject."""
    random = np.random.default_rng(0)
    scores = random.uniform(0.7, 1, 2_000)
    is_right = random.random(2_000) < scores - 0.15
    rows = [[1 - score, score] for score in scores]
    return make_judged(is_right.astype(int).tolist(), [*rows[:-1], None])


def test_the_calibration_is_stored_and_applied(folder, overconfident):
    before = Predictor(folder, probabilities=True).predict(make_reviews(30)["text"].tolist())
    calibrated = optimization.calibrate(folder, overconfident)
    settings = load_settings(folder)
    assert settings.temperature > 1.2
    assert calibrated.probabilities[-1].tolist() == [0.5, 0.5]
    error = measure_calibration_error(overconfident.probabilities, overconfident.truth)
    assert measure_calibration_error(calibrated.probabilities, calibrated.truth) < error / 2

    after = Predictor(folder, probabilities=True).predict(make_reviews(30)["text"].tolist())
    assert after[schema.LABEL].tolist() == before[schema.LABEL].tolist()
    logits = [np.diff(np.log(np.array(frame[schema.PROBABILITIES].tolist()))) for frame in (before, after)]
    assert np.abs(logits[1]) == pytest.approx(np.abs(logits[0] / settings.temperature) ** settings.power)


def test_the_score_of_an_accuracy_is_proved_on_validation(folder, overconfident):
    config = FinetuneConfig(target_accuracy=0.75)
    assert optimization.choose_min_score(folder, overconfident, config) == []
    settings = load_settings(folder)
    kept = overconfident.scores >= settings.min_score
    kept[-1] = False
    assert 0.7 < settings.min_score < 1
    assert overconfident.is_right[kept].mean() > 0.75
    share = kept.sum() / 1_999
    assert [p.coverage for p in settings.coverage if p.min_score == settings.min_score] == [share]
    assert Predictor(folder)._min_score == settings.min_score
    assert Predictor(folder, target_accuracy=0.75)._min_score == settings.min_score
    assert Predictor(folder, min_score=0.2)._min_score == 0.2


def test_an_accuracy_that_no_score_proves_makes_every_review_unsure(folder, overconfident):
    [note] = optimization.choose_min_score(folder, overconfident, FinetuneConfig(target_accuracy=0.999))
    assert "every review is unsure" in note
    assert load_settings(folder).min_score > 1, "a score of 1 is unsure too"
    found = Predictor(folder).predict(["good", None])
    assert found[schema.UNSURE].tolist() == [True, False]
    with pytest.raises(ValueError, match="proved at most"):
        Predictor(folder, target_accuracy=0.999)


def test_notes_say_what_was_not_calibrated_and_what_is_rejected(overconfident):
    assert optimization.note_calibration(overconfident) == []
    few = overconfident.at(np.arange(99))
    assert optimization.note_calibration(few) == [
        "the scores are not calibrated: 99 reviews to do it, expected at least 100"
    ]
    assert optimization.note_rejects(few) == []
    assert optimization.note_rejects(overconfident) == ["the model rejects 1 of 2,000 reviews: blank_text 1"]


def test_min_score_is_stored(folder, overconfident):
    assert optimization.choose_min_score(folder, overconfident, FinetuneConfig(min_score=0.8)) == []
    assert load_settings(folder).min_score == 0.8


class SilentLog:
    """Log nothing."""

    def log_metrics(self, metrics):
        pass

    def set_tag(self, name, value):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("readable", [0, 60])
def test_a_model_is_optimised_on_the_reviews_that_it_can_read(folder, readable):
    russian = pd.DataFrame({"text": [f"очень хорошо {i}" for i in range(40)], "label": [0, 1] * 20})
    reviews = pd.concat([russian, make_reviews(readable)[["text", "label"]]] if readable else [russian])
    splits = make_splits(reviews, reviews.reset_index(drop=True), reviews)
    found = optimization.optimize(
        folder, splits, FinetuneConfig(max_length=16), 16, SilentLog(), lambda *_: None
    )
    notes = [note for note in found.notes if note.startswith("the engines were compared on")]
    if readable:
        assert {comparison.rows for comparison in found.engines} == {2 * readable}
        assert notes == ["the engines were compared on 120 of 200 reviews: the model rejects the others"]
    else:
        assert (found.settings.cpu_engine, notes) == ("reference", [])
        assert "the model can read none of 80 reviews" in found.settings.cpu_engine_reason
