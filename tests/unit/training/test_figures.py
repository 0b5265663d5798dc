from sentiment.evaluation.metrics import measure
from sentiment.training.figures import draw_confusion_matrix, draw_learning_curve
from tests.factories import make_judged


def test_the_confusion_matrix_shows_counts_shares_and_accuracy():
    judged = make_judged([1, 0, 1, 0], [[0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    axes = draw_confusion_matrix(measure(judged)).axes[0]
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
