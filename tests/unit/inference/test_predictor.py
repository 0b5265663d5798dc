import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentiment import schema
from sentiment.inference.predictor import Predictor
from sentiment.inference.tokenization import Tokenizer
from tests.factories import make_reviews, make_tiny_encoder


@pytest.fixture(scope="module")
def predictor(tiny_encoder):
    return Predictor(tiny_encoder, budget_tokens=64)


def test_one_row_per_value_with_the_contract_columns_and_types(predictor):
    predictions = predictor.predict(["good phone", None, "bad"])
    assert tuple(predictions.columns) == schema.PREDICTION_COLUMNS
    assert predictions[schema.N_TOKENS].tolist() == [4, 0, 3]
    kinds = [str(kind) for kind in predictions.dtypes]
    assert kinds == ["object", "float64", "bool", "int64", "bool", "object", "object"]
    assert predictions[schema.STAGE].tolist() == [schema.ENCODER, None, schema.ENCODER]
    assert predictions.loc[1, schema.LABEL] is None
    assert np.isnan(predictions.loc[1, schema.SCORE])


def test_rejects_are_rows_and_never_exceptions(predictor):
    values = ["good", None, " ", 7, float("nan"), "x\ud800", "\u0000\u0007", ["good"], "bad"]
    predictions = predictor.predict(values)
    assert predictions[schema.REJECT_REASON].tolist() == [
        None,
        schema.NULL_TEXT,
        schema.BLANK_TEXT,
        schema.NOT_TEXT,
        schema.NULL_TEXT,
        schema.UNDECODABLE_TEXT,
        schema.BLANK_TEXT,  # control characters alone leave no token
        schema.NOT_TEXT,
        None,
    ]
    assert predictions[schema.LABEL].notna().tolist() == [
        r is None for r in predictions[schema.REJECT_REASON]
    ]


@pytest.mark.parametrize("values", [[], [None], ["", " "]])
def test_nothing_to_score_is_no_error(predictor, values):
    assert len(predictor.predict(values)) == len(values)


def test_a_score_is_the_probability_of_its_label(predictor, tiny_encoder):
    import torch
    from transformers import AutoModelForSequenceClassification

    texts = make_reviews(40)["text"].tolist()
    predictions = predictor.predict(texts)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder).eval()
    tokens = Tokenizer(tiny_encoder).encode(texts)
    for i, ids in enumerate(tokens.ids):
        with torch.no_grad():
            probabilities = model(torch.tensor(ids[None].astype("int64"))).logits.softmax(-1)[0]
        assert predictions.loc[i, schema.LABEL] == schema.POLARITY_LABELS[int(probabilities.argmax())]
        assert predictions.loc[i, schema.SCORE] == pytest.approx(float(probabilities.max()), abs=1e-5)
    assert predictions[schema.LABEL].nunique() == 2  # else this test could not tell labels apart


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms())
def test_a_permutation_of_the_rows_permutes_the_predictions_exactly(predictor, random):
    texts = [*make_reviews(40)["text"], None, " ", "good", "good"]
    order = random.sample(range(len(texts)), len(texts))
    straight = predictor.predict(texts).iloc[order].reset_index(drop=True)
    permuted = predictor.predict([texts[i] for i in order])
    pd.testing.assert_frame_equal(permuted, straight, check_exact=True)


def test_a_review_scored_alone_gets_the_score_it_gets_in_company(predictor):
    texts = make_reviews(30)["text"].tolist()
    together = predictor.predict(texts)
    alone = pd.concat([predictor.predict([text]) for text in texts], ignore_index=True)
    assert (together[schema.SCORE] - alone[schema.SCORE]).abs().max() < 1e-5
    assert together[schema.LABEL].equals(alone[schema.LABEL])


def test_a_long_review_is_cut_at_the_tokenizers_length_and_says_so(predictor):
    predictions = predictor.predict(["good " * 14, "good " * 15])
    assert predictions[schema.N_TOKENS].tolist() == [16, 16]
    assert predictions[schema.TRUNCATED].tolist() == [False, True]


def test_equal_texts_are_scored_once(predictor, monkeypatch):
    seen = []
    classify = predictor._engine.classify
    monkeypatch.setattr(predictor._engine, "classify", lambda rows: seen.extend(rows) or classify(rows))
    predictions = predictor.predict(["good phone", "bad", "good phone", None, "good phone"])
    assert len(seen) == 2
    assert predictions[schema.SCORE].nunique() == 2
    assert (
        predictions.loc[[2, 4]].reset_index(drop=True).equals(predictions.loc[[0, 0]].reset_index(drop=True))
    )


def test_windows_of_a_packing_engine_give_what_one_window_gives(predictor, monkeypatch):
    texts = make_reviews(50)["text"].tolist()
    whole = predictor.predict(texts)
    seen = []
    monkeypatch.setattr(predictor._engine, "is_packed", True)
    monkeypatch.setattr("sentiment.inference.predictor._PACKED_TEXTS", 7)
    windows = predictor.predict(texts, lambda done, total: seen.append((done, total)))
    pd.testing.assert_frame_equal(windows, whole, atol=1e-6)
    assert seen[-1] == (50, 50)
    assert seen == sorted(seen)


def test_a_cut_of_head_and_tail_keeps_both_ends_and_the_special_tokens(tiny_encoder):
    text = " ".join(["good"] * 10 + ["the"] * 10 + ["bad"] * 10)
    whole = Tokenizer(tiny_encoder, max_length=100).encode([text]).ids[0].tolist()
    for truncation, n_head in (("head", 14), ("head_tail", 3)):
        tokens = Tokenizer(tiny_encoder, truncation).encode([text])
        assert tokens.ids[0].tolist() == [*whole[: 1 + n_head], *whole[len(whole) - 15 + n_head :]]
        assert (tokens.lengths[0], tokens.truncated[0]) == (16, True)


def test_a_budget_smaller_than_a_review_is_raised_to_it(tiny_encoder):
    assert len(Predictor(tiny_encoder, budget_tokens=1).predict(["good " * 40])) == 1


def test_progress_ends_at_all_rows(predictor):
    seen = []
    predictor.predict(make_reviews(50)["text"].tolist(), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (50, 50)
    assert seen == sorted(seen)


def test_a_tokenizer_without_a_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no truncation"):
        Tokenizer(make_tiny_encoder(tmp_path))


def test_the_tokenizer_file_holds_the_length(tiny_encoder):
    content = json.loads((tiny_encoder / "tokenizer.json").read_text())
    assert content["truncation"]["max_length"] == 16


def test_a_token_that_the_embedding_lacks_costs_one_reject(tmp_path):
    """Its row would end the whole call, or the process on a GPU; OpenVINO would score it as zeros."""
    from tokenizers import Tokenizer as Library

    path = make_tiny_encoder(tmp_path, max_length=16) / "tokenizer.json"
    library = Library.from_file(str(path))
    library.add_tokens(["\N{GRINNING FACE}"])
    library.save(str(path))
    texts = ["good", "bad \N{GRINNING FACE}", "the battery is good"]
    expected = Predictor(tmp_path).predict([texts[0], texts[2]])
    found = Predictor(tmp_path).predict(texts)
    assert found[schema.REJECT_REASON].tolist() == [None, schema.MODEL_FAILED, None]
    assert found[schema.LABEL].isna().tolist() == [False, True, False]
    assert found.loc[1, schema.N_TOKENS] == 0
    kept = found.drop(index=1).reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, expected)


def test_a_score_that_is_not_a_number_is_a_failure_and_not_a_blank_text(tmp_path):
    from safetensors.numpy import load_file, save_file

    weights = load_file(make_tiny_encoder(tmp_path, max_length=16) / "model.safetensors")
    weights["classifier.bias"][0] = np.nan
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = Predictor(tmp_path).predict(["good", " "])
    assert found[schema.REJECT_REASON].tolist() == [schema.MODEL_FAILED, schema.BLANK_TEXT]
