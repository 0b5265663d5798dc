from sentiment.training.figures import draw_learning_curve


def test_the_learning_curve_shows_each_series_at_its_steps():
    history = [{"step": 1, "loss": 0.7}, {"step": 2, "eval_loss": 0.6, "eval_f1": 0.8}]
    lines = [line for axes in draw_learning_curve(history).axes for line in axes.lines]
    assert {line.get_label(): line.get_xydata().tolist() for line in lines} == {
        "training loss": [[1, 0.7]],
        "validation loss": [[2, 0.6]],
        "validation F1": [[2, 0.8]],
    }
