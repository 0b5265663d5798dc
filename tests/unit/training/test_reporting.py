from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sentiment import schema
from sentiment.config import FinetuneConfig
from sentiment.inference.calibration import Calibration
from sentiment.inference.linear import OpinionPool
from sentiment.models import registry
from sentiment.training import reporting
from sentiment.training.cascade import train_linear
from sentiment.training.finetuning import finetune
from tests.factories import CANARY, make_judged, make_reviews, make_tiny_encoder

pytestmark = pytest.mark.slow


def test_the_report_of_a_fine_tuned_model_has_slices_by_the_columns_of_the_reviews(
    one_thread, tracking, tmp_path
):
    """The reader of training data once kept texts and labels only."""
    (tmp_path / "reviews").mkdir()
    reviews = make_reviews(320)
    reviews[:240].to_parquet(tmp_path / "reviews" / "train.parquet")
    reviews[240:].assign(
        category=["books", "toys"] * 40,
        stars=[1, 5] * 40,
        review_date=[*pd.date_range("2024-03-01", periods=40, tz="UTC")] * 2,
        title=[CANARY, None] * 40,
    ).to_parquet(tmp_path / "reviews" / "test.parquet")
    config = FinetuneConfig(
        dataset_name=str(tmp_path / "reviews"),
        distilbert_model=str(make_tiny_encoder(tmp_path / "encoder", initializer_range=0.05)),
        epochs=1,
        max_length=32,
        cascade="off",
        report=str(tmp_path / "report.html"),
    )
    summary = finetune(config, lambda *_: None)
    report = (tmp_path / "report.html").read_text()
    for part in ("category books", "category toys", "stars 1", "stars 5", "month 2024-03", "title yes"):
        assert part in report
    assert "There is no slice by" not in report
    assert CANARY not in report
    logged = registry.import_mlflow().artifacts.load_text(f"runs:/{summary.run_id}/evaluation.html")
    assert "category books" in logged


def test_the_probabilities_before_calibration_are_those_of_the_encoder():
    calibration, pool = Calibration(2.0, 1.5), OpinionPool(0.8, 0.6, -0.4)
    stage = replace(train_linear(make_reviews(400), seed=0), pool=pool)
    texts = ["the screen is great, i love it", "it broke", "awful", " "]
    raw = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.5, 0.5]])
    by_linear = stage.second_class_probabilities(texts)
    second = calibration.apply(raw)[:, 1]
    # The first is decided by both stages, the second by the encoder, the third by the linear stage.
    second = np.array([pool.apply(second, by_linear)[0], second[1], by_linear[2], 0.5])
    judged = make_judged([1, 0, 0, 0], np.stack([1 - second, second], axis=1).tolist())
    judged.predictions[schema.STAGE] = [schema.BOTH, schema.ENCODER, schema.LINEAR, None]
    judged.predictions[schema.N_TOKENS] = [40, 4, 40, 0]
    found = reporting._undo_calibration(judged, texts, stage, calibration)
    assert found[:2] == pytest.approx(raw[:2])
    assert found[2:, 1] == pytest.approx([by_linear[2], 0.5])
    without = judged.at(np.array([1, 3]))
    assert reporting._undo_calibration(without, [], None, calibration)[0] == pytest.approx(raw[1])


def test_a_report_that_cannot_be_written_costs_no_model(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    config = FinetuneConfig(report=str(tmp_path / "gone" / "report.html"))
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(reporting, "write_report", lambda findings, path, texts: path.write_text("report"))
    log = SimpleNamespace(log_text=lambda text, name: None)
    [note] = reporting.log_report(None, [], config, log)
    assert note.endswith(
        "was not written (No such file or directory); the MLflow run has it as evaluation.html"
    )
