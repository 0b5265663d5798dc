import pytest

from sentiment.training.data.split_names import place_file


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.csv", "train"),
        ("training_2.csv", "train"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("train2/a.csv", "train"),
        ("Valid.csv", "validation"),
        ("my-dev.csv", "validation"),
        ("val/x.csv", "validation"),
        ("eval.json", "validation"),
        ("TEST.CSV", "test"),
        ("deep/testing/part-0.csv", "test"),
        ("train/test.csv", "test"),  # the file name is nearer
        ("trainer_notes.csv", None),
        ("contest.csv", None),
        ("latest/values.csv", None),
        ("reviews.csv", None),
        ("trainset.csv", "train"),
        ("tst.csv", "test"),
        ("test_data.csv", "test"),
        ("valset.csv", "validation"),
        ("imdbTrain.csv", "train"),
        ("labeledTrainData.tsv", "train"),
        ("IMDBTest.csv", "test"),
        ("split=test/part-0.parquet", "test"),
        ("reviews(train).csv", "train"),
        ("GreatestHits.csv", None),
        ("dataset.csv", None),
        ("训练集_train.csv", "train"),
        ("train数据.csv", "train"),
        ("测试test.csv", "test"),
        ("データtestset2.csv", "test"),
        ("리뷰Val.csv", "validation"),
        ("\uff54\uff45\uff53\uff54.csv", "test"),
        ("prétest.csv", None),
        ("pre\u0301test.csv", None),
        ("数据contest.csv", None),
        ("训练集.csv", None),
    ],
)
def test_words_of_a_path_place_a_file(tmp_path, path, split):
    assert place_file(tmp_path.relative_to(tmp_path) / path) == split
