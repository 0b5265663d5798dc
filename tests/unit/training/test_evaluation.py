import pandas as pd
import pytest

from sentiment import schema
from sentiment.training.evaluation import evaluate_model, measure_baselines
from sentiment.training.figures import draw_confusion_matrix, draw_learning_curve


class Says:
    """A predictor that gives the rows it was made with."""

    def __init__(self, *rows):
        self._rows = rows

    def predict(self, values, progress=None):
        return pd.DataFrame(
            [(label, score, 3, False, "encoder", reason) for label, score, reason in self._rows],
            columns=list(schema.PREDICTION_COLUMNS),
        )


TEST = pd.DataFrame({"text": ["a", "b", "c", "d"], "label": [1, 0, 1, 0]})


def test_figures_are_of_the_test_set():
    evaluation = evaluate_model(
        Says(
            ("positive", 0.9, None), ("negative", 0.8, None), ("negative", 0.6, None), ("negative", 0.7, None)
        ),
        TEST,
    )
    assert evaluation.accuracy == 0.75
    assert evaluation.confusion == [[2, 0], [1, 1]]
    assert evaluation.f1_negative == pytest.approx(0.8)
    assert evaluation.f1_positive == pytest.approx(2 / 3)
    assert evaluation.roc_auc == 1.0  # 0.9 and 0.4 against 0.2 and 0.3


def test_a_rejected_text_counts_as_wrong():
    rows = [("positive", 0.9, None), ("negative", 0.9, None), (None, float("nan"), "blank_text")]
    evaluation = evaluate_model(Says(*rows, ("negative", 0.9, None)), TEST)
    assert evaluation.accuracy == 0.75
    assert evaluation.confusion == [[2, 0], [1, 1]]


def test_baselines_are_the_majority_and_the_sign_of_the_lexicon():
    train = pd.DataFrame({"text": ["x"] * 3, "label": [1, 1, 0]})
    test = pd.DataFrame({"text": ["I love it", "I hate it", "The box", "Terrible"], "label": [1, 0, 1, 1]})
    baselines = measure_baselines(train["label"], test)
    assert baselines["majority"].accuracy == 0.75
    assert baselines["lexicon"].accuracy == 0.75  # "The box" has no word of it: the majority


def test_the_confusion_matrix_shows_counts_shares_and_accuracy():
    rows = [("positive", 0.9, None), ("negative", 0.9, None), ("negative", 0.9, None)]
    axes = draw_confusion_matrix(evaluate_model(Says(*rows, ("negative", 0.9, None)), TEST)).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    # By (predicted, true).
    assert cells == {
        (0, 0): "2\n100.0%",
        (1, 0): "0\n0.0%",
        (0, 1): "1\n50.0%",
        (1, 1): "1\n50.0%",
    }
    assert axes.get_title() == "test accuracy 0.750"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_the_learning_curve_shows_each_series_at_its_steps():
    history = [{"step": 1, "loss": 0.7}, {"step": 2, "eval_loss": 0.6, "eval_f1": 0.8}]
    lines = [line for axes in draw_learning_curve(history).axes for line in axes.lines]
    assert {line.get_label(): line.get_xydata().tolist() for line in lines} == {
        "training loss": [[1, 0.7]],
        "validation loss": [[2, 0.6]],
        "validation F1": [[2, 0.8]],
    }
