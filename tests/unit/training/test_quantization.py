"""The gate in front of a faster engine, and the curve that helps to choose `max_length`."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from sentiment.evaluation.figures import draw_length_curve
from sentiment.inference.engines import load_engine, run_minibatches
from sentiment.inference.predictor import Predictor
from sentiment.inference.processor import Processor
from sentiment.inference.selfcheck import Deviation, load_self_check
from sentiment.inference.settings import load_settings
from sentiment.training import lengths, quantization
from sentiment.training.quantization import (
    EngineComparison,
    compare_engines,
    drop_rejects,
    note_dropped,
    pick_gate_reviews,
    quantize,
)
from tests.factories import make_reviews, make_tiny_encoder

pytestmark = pytest.mark.slow

TEXTS = make_reviews(40)["text"].tolist()
AMX = Processor("amx", (), has_bf16=True)
AVX2 = Processor("avx2", (), has_bf16=False)


def quiet(*_):
    pass


@pytest.fixture
def folder(tmp_path):
    return make_tiny_encoder(tmp_path / "encoder", max_length=16)


def test_a_comparison_counts_losses_flips_and_shift():
    truth = np.array([1, 1, 0, 0, 1])
    reference, other = (
        np.array([[1 - p, p] for p in second])
        for second in ([0.9, 0.8, 0.2, 0.6, 0.7], [0.9, 0.4, 0.2, 0.4, 0.3])
    )
    comparison = compare_engines("int8", reference, other, truth)
    assert comparison.rows == 5
    assert comparison.accuracy_loss_points == pytest.approx(20)  # four right, then three
    assert comparison.flip_share == pytest.approx(3 / 5)
    assert comparison.mean_shift == pytest.approx(1.0 / 5)
    assert not comparison.is_passed
    assert "failed" in str(comparison)


PASSED = EngineComparison("int8", 1000, accuracy_loss_points=0.2, flip_share=0.005, mean_shift=0.01)


@pytest.mark.parametrize("field", ["accuracy_loss_points", "flip_share", "mean_shift"])
def test_each_figure_alone_can_fail_the_gate(field):
    assert PASSED.is_passed
    assert not dataclasses.replace(PASSED, **{field: getattr(PASSED, field) * 1.01}).is_passed


def test_the_self_check_can_fail_the_gate():
    assert dataclasses.replace(PASSED, deviation=Deviation(32, 0, 0.01, 0.01)).is_passed
    failed = dataclasses.replace(PASSED, deviation=Deviation(32, 1, 0.001, 0.01))
    assert not failed.is_passed
    assert "1 of 32 labels" in str(failed)


@pytest.fixture
def lenient(monkeypatch):
    """Bounds that any rounding keeps: what is random is sensitive to it."""
    for bound in ("MAX_ACCURACY_LOSS_POINTS", "MAX_FLIP_SHARE", "MAX_MEAN_SHIFT"):
        monkeypatch.setattr(quantization, bound, 20)
    monkeypatch.setattr(Deviation, "is_within_bounds", True)


def test_a_passing_graph_is_carried_and_says_why_and_where(folder, monkeypatch, lenient):
    monkeypatch.setattr(quantization, "find_processor", lambda: AMX)
    [comparison] = quantize(folder, TEXTS, make_reviews(200), quiet)
    assert comparison.engine == "int8_static"
    settings = load_settings(folder)
    assert settings.cpu_engine == "int8_static"
    assert settings.cpu_engine_reason == str(comparison)
    assert settings.gated_on == "amx"
    assert "on 200 reviews" in settings.cpu_engine_reason


def test_where_int8_saturates_float32_is_compared_and_no_scales_are_fixed(folder, monkeypatch, lenient):
    monkeypatch.setattr(quantization, "find_processor", lambda: AVX2)
    monkeypatch.delattr(quantization, "export_static_graph")
    [comparison] = quantize(folder, TEXTS, make_reviews(60), quiet)
    assert (comparison.engine, comparison.rows) == ("f32", 60)
    settings = load_settings(folder)
    assert (settings.cpu_engine, settings.gated_on) == ("int8", "avx2")
    assert not (folder / "static.xml").exists()


def test_the_model_carries_what_the_reference_says_of_public_sentences(folder, lenient):
    quantize(folder, TEXTS, make_reviews(60), quiet)
    check = load_self_check(folder)
    expected = load_engine(folder, "reference").classify([np.array(row) for row in check.ids])
    assert np.allclose(check.probabilities, expected, atol=1e-5)
    assert check.max_mean_shift == 20


@pytest.mark.parametrize(
    ("failing", "chosen"),
    [
        ({"int8_static"}, "int8"),
        ({"int8_static", "int8"}, "bf16"),
        ({"int8_static", "int8", "bf16"}, "f32"),
        ({"int8_static", "int8", "bf16", "f32"}, "reference"),
    ],
)
def test_an_engine_that_fails_is_not_used(folder, monkeypatch, lenient, failing, chosen):
    compare = quantization.compare_engines
    monkeypatch.setattr(quantization, "find_processor", lambda: AMX)
    monkeypatch.setattr(quantization, "MAX_FLIP_SHARE", 0.5)

    def spoil(engine, reference, probability, truth):
        # What a random encoder of a few reviews loses by itself depends on the processor.
        found = 1 - reference if engine in failing else reference
        return compare(engine, reference, found, truth)

    monkeypatch.setattr(quantization, "compare_engines", spoil)
    comparisons = quantize(folder, TEXTS, make_reviews(60), quiet)
    assert {c.engine for c in comparisons if not c.is_passed} == failing
    settings = load_settings(folder)
    assert settings.cpu_engine == chosen
    assert settings.cpu_engine_reason.startswith("int8_static failed")
    assert (folder / "graph.xml").exists() == (chosen != "reference")
    assert not (folder / "static.xml").exists()
    assert Predictor(folder).engine in (chosen, "f32")


# Another script, unknown symbols, no token, white space, a lone surrogate, and no text.
REJECTS = ["очень хорошо работает", "?? ##", "\x00", " ", "good \ud800", None]


def test_the_gate_drops_what_scoring_rejects(folder):
    reviews = make_reviews(20)
    mixed = pd.concat([pd.DataFrame({"text": REJECTS}), reviews, pd.DataFrame({"text": REJECTS})])
    found = drop_rejects(folder, mixed.reset_index(drop=True))
    assert found["text"].tolist() == reviews["text"].tolist()
    assert found["label"].tolist() == reviews["label"].tolist()
    predictions = Predictor(folder).predict(mixed["text"].tolist())
    assert predictions["reject_reason"].isna().sum() == 20
    assert len(drop_rejects(folder, pd.DataFrame({"text": REJECTS}))) == 0


def test_rejects_do_not_dilute_the_gate(folder, monkeypatch):
    reference = load_engine(folder, "reference")
    reviews = make_reviews(50)
    # 4 % of the labels that are given change: those of two reviews.
    victims = reviews["text"].tolist()[:2]
    rejected = pd.DataFrame({"text": [f"очень хорошо {i}" for i in range(950)], "label": 0})
    mixed = pd.concat([rejected, reviews[["text", "label"]]], ignore_index=True)

    def run(engine, rows, texts, *more):
        for chosen, found in run_minibatches(reference, rows, texts, *more):
            if engine.name != "reference":
                found = found.copy()
                for at, i in enumerate(chosen):
                    if texts[i] in victims:
                        found[at] = found[at][::-1]
            yield chosen, found

    monkeypatch.setattr(quantization, "run_minibatches", run)
    monkeypatch.setattr(Deviation, "is_within_bounds", True)
    comparisons = quantize(folder, TEXTS, mixed, quiet)
    assert {comparison.rows for comparison in comparisons} == {50}
    assert {comparison.flip_share for comparison in comparisons} == {0.04}
    assert load_settings(folder).cpu_engine == "reference"
    assert note_dropped(1_000, comparisons) == [
        "the engines were compared on 50 of 1,000 reviews: the model rejects the others"
    ]
    assert note_dropped(50, comparisons) == note_dropped(50, []) == []


def test_a_model_that_can_read_no_review_gets_the_reference_engine(folder):
    assert quantize(folder, TEXTS, pd.DataFrame({"text": REJECTS[:1] * 30}), quiet) == []
    settings = load_settings(folder)
    assert settings.cpu_engine == "reference"
    assert settings.cpu_engine_reason == "no engine was compared: the model can read none of 30 reviews"
    assert not list(folder.glob("*.xml"))
    assert Predictor(folder).predict(TEXTS)["label"].notna().all()


def test_few_validation_reviews_get_company_and_many_are_sampled(monkeypatch):
    monkeypatch.setattr(quantization, "MIN_GATE_ROWS", 50)
    monkeypatch.setattr(quantization, "MAX_GATE_ROWS", 60)
    train, validation = make_reviews(100), make_reviews(20, text="validation")
    few = pick_gate_reviews(train, validation, seed=1)
    assert len(few) == 50
    assert (few["text"] == "validation").sum() == 20
    assert len(pick_gate_reviews(train.head(5), validation, seed=1)) == 25
    many = pick_gate_reviews(train, make_reviews(80, text="validation"), seed=1)
    assert len(many) == 60
    assert set(many["text"]) == {"validation"}


def test_the_length_curve_ends_where_nothing_is_cut(folder, monkeypatch):
    monkeypatch.setattr(lengths, "LENGTHS", (16, 32, 64))
    reviews = pd.DataFrame({"text": ["good " * 14, "bad " * 40, "good"], "label": [1, 0, 1]})
    points = lengths.measure_lengths(folder, reviews, max_positions=64, seed=0, progress=quiet)
    assert [(p.max_length, p.truncation, p.tokens_per_review) for p in points] == [
        *((16, "head", pytest.approx(35 / 3)), (16, "head_tail", pytest.approx(35 / 3))),
        *((32, "head", 17), (32, "head_tail", 17)),
        (64, "head", pytest.approx(61 / 3)),
    ]
    assert [p.truncated_share > 0 for p in points] == [True] * 4 + [False]
    assert all(p.seconds > 0 and 0 <= p.accuracy <= 1 for p in points)
    figure = draw_length_curve(points, 64)
    assert [len(line.get_xdata()) for line in figure.axes[0].get_lines()][:2] == [3, 2]


def test_the_length_curve_stops_at_what_the_encoder_can_read(folder):
    reviews = pd.DataFrame({"text": ["good " * 600, "bad " * 600], "label": [1, 0]})
    points = lengths.measure_lengths(folder, reviews, max_positions=64, seed=0, progress=quiet)
    assert {p.max_length for p in points} == {64}
