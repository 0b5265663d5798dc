import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from sentiment.schema import POLARITY_LABELS, STAR_LABELS
from sentiment.training import augmentation
from sentiment.training.augmentation import add_stars, augment_rows, misspell
from tests.factories import make_reviews


@pytest.fixture
def random():
    return np.random.default_rng(0)


def augment(train: pd.DataFrame, seed: int, labels: tuple[str, ...] = POLARITY_LABELS) -> pd.DataFrame:
    return augment_rows(Dataset.from_pandas(train, preserve_index=False), labels, seed).to_pandas()


def test_rows_and_labels_stay_and_only_some_texts_change():
    train = make_reviews(1_000)
    varied = augment(train, seed=1)
    assert varied.drop(columns="text").equals(train.drop(columns="text"))
    assert 0.15 < (varied["text"] != train["text"]).mean() < 0.4
    assert not train["text"].str.contains("star").any()


def test_the_seed_decides_what_changes():
    train = make_reviews(200)
    assert augment(train, seed=1).equals(augment(train, seed=1))
    assert not augment(train, seed=1).equals(augment(train, seed=2))


def test_other_code_gives_rows_of_another_fingerprint(monkeypatch, tmp_path):
    rows = Dataset.from_dict({"text": ["a fine thing"], "label": [1]})
    made = [augment_rows(rows, POLARITY_LABELS, seed)._fingerprint for seed in (1, 1, 2)]
    (tmp_path / "other.py").write_text("MISSPELLED_SHARE = 0.5")
    monkeypatch.setattr(augmentation, "__file__", str(tmp_path / "other.py"))
    changed = augment_rows(rows, POLARITY_LABELS, 1)._fingerprint
    assert made[0] == made[1]
    assert len({*made, changed}) == 3


def test_stars_agree_with_the_label(monkeypatch):
    monkeypatch.setattr(augmentation, "STARS_SHARE", 1)
    varied = augment(make_reviews(400), seed=1)
    stars = varied["text"].str.extract(r"(\d) stars?\.$")[0].astype(int)
    assert set(stars[varied["label"] == 0]) == {1, 2}
    assert set(stars[varied["label"] == 1]) == {4, 5}


def test_labels_that_do_not_say_how_many_stars_get_none(monkeypatch):
    monkeypatch.setattr(augmentation, "STARS_SHARE", 1)
    varied = augment(make_reviews(400), seed=1, labels=STAR_LABELS)
    assert not varied["text"].str.contains("star").any()
    assert (varied["text"] != make_reviews(400)["text"]).mean() > 0.1


def test_stars_come_after_the_text(random):
    found = {add_stars("Broke at once.", 0, random) for _ in range(50)}
    assert found == {
        f"Broke at once{joint} {stars}." for joint in (",", ".") for stars in ("1 star", "2 stars")
    }


def test_a_slip_changes_one_long_word_by_one_letter(random):
    for _ in range(200):
        words = misspell("the battery is not great 2004 (really)", random).split(" ")
        assert len(words) == 7
        assert words[0] == "the"
        assert words[5:] == ["2004", "(really)"]
        assert (words[1] != "battery") + (words[4] != "great") <= 1
        assert abs(len(words[1]) - 7) <= 1


def test_a_text_without_a_long_word_stays(random):
    assert misspell("it is bad :(", random) == "it is bad :("


def test_the_sample_and_its_slips_never_hold_the_demos_example():
    """The example shows what the model has learned only if the model has not been trained on it."""
    from sentiment.config import FinetuneConfig, load_config
    from sentiment.training.data.reading import load_labelled_reviews
    from tests.factories import ROOT

    config = load_config(FinetuneConfig, ROOT / "conf" / "demo.yaml", {})
    train = augment_rows(load_labelled_reviews(config).splits.train, POLARITY_LABELS, config.seed).to_pandas()
    assert not train["text"].str.contains("damanged", case=False).any()
