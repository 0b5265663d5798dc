"""What training offers to a person who looks: the tables and the picture of the guided tour."""

import pandas as pd
from matplotlib.patches import Rectangle

from sentiment.schema import POLARITY_LABELS
from sentiment.training.data.splits import describe_splits
from sentiment.training.encoders import count_tokens, load_encoder
from sentiment.training.figures import draw_text_lengths
from tests.factories import make_splits


def make_frame(*texts: str, groups: list[str] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame({"text": texts, "label": [i % 2 for i in range(len(texts))]})
    return frame if groups is None else frame.assign(group=groups)


def test_described_splits_count_labels_and_what_other_splits_share() -> None:
    splits = make_splits(
        make_frame("a", "b", "c", groups=["1", "2", "3"]),
        make_frame("d", "a", groups=["4", "5"]),
        make_frame("e", groups=["3"]),
    )

    table = describe_splits(splits, POLARITY_LABELS)

    assert table.loc["train"].to_dict() == {
        "reviews": 3,
        "negative": 2,
        "positive": 1,
        "shared_texts": 1,
        "shared_groups": 1,
    }
    assert table["shared_texts"].tolist() == [1, 1, 0]
    assert table["shared_groups"].tolist() == [1, 0, 1]


def test_splits_where_only_train_has_groups_share_none() -> None:
    splits = make_splits(make_frame("a", groups=["1"]), make_frame("b"), make_frame("c"))

    assert describe_splits(splits, POLARITY_LABELS)["shared_groups"].tolist() == [0, 0, 0]


def test_tokens_are_counted_beyond_what_the_encoder_reads() -> None:
    encoder = load_encoder("minilm", max_length=16, seed=0)

    assert count_tokens(encoder, ["good", "good " * 600]) == [3, 602]


def test_picture_of_lengths_says_how_many_are_cut() -> None:
    figure = draw_text_lengths([5, 64, 65, 300], max_length=64)

    axes = figure.axes[0]
    assert axes.get_legend_handles_labels()[1] == ["max_length 64: 2 longer"]
    assert sum(bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)) == 4
