import numpy as np
import pandas as pd
import pytest

from sentiment.inference.pyfunc import find_texts


@pytest.mark.parametrize(
    ("model_input", "texts"),
    [
        (pd.DataFrame({"text": ["a", None, 3]}, dtype=object), ["a", None, 3]),
        (pd.DataFrame({"id": [1], "text": ["a"]}), ["a"]),
        (pd.DataFrame(["a", "b"]), ["a", "b"]),
        (pd.DataFrame({0: ["a"], "text": [np.nan]}), ["a"]),  # spark_udf of one column
        (pd.DataFrame([{"text": ["a", "b"]}]), ["a", "b"]),  # {"inputs": {"text": […]}}
        (pd.DataFrame({"text": []}), []),
        (["a", None], ["a", None]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        (pd.Series(["a"]), ["a"]),
        ({"text": np.array(["a", "b"])}, ["a", "b"]),
        ({"text": "a"}, ["a"]),
        ("a", ["a"]),
    ],
)
def test_texts_are_found_in_whatever_mlflow_hands_over(model_input, texts):
    assert list(find_texts(model_input)) == texts


def test_a_frame_without_text_is_an_error_that_quotes_nothing():
    with pytest.raises(ValueError, match="no column 'text'") as caught:
        find_texts(pd.DataFrame({"review": ["a secret"]}))
    assert "secret" not in str(caught.value)
