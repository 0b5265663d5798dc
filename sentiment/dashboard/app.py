"""Show the page that `app.sh` starts; Streamlit runs this file again at every click.

Review text and uploads stay in the memory of the user's session. They are never written, logged or shown in
an error.
"""

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import streamlit as st

from sentiment import schema
from sentiment.config import DEFAULT_MODEL_URI
from sentiment.dashboard.file_tab import show_file_tab
from sentiment.dashboard.model import ModelInUse, open_model, predict
from sentiment.dashboard.wording import escape_markdown, explain_reject
from sentiment.errors import ModelError, SentimentError

# The folder of the project. Without a tracking server, its subfolder `var` holds the models.
HOME = Path(__file__).resolve().parents[2]
MODEL_URI_VARIABLE = "SENTIMENT_MODEL_URI"
_LOG = logging.getLogger("sentiment.dashboard")
# Session key of the last prediction for a single review, with the version of its model.
_PREDICTED = "predicted"


def main() -> None:
    st.set_page_config(page_title="Review sentiment", layout="wide")
    st.title("Review sentiment")
    with _errors_as_lines():
        used = _load_model(os.environ.get(MODEL_URI_VARIABLE, DEFAULT_MODEL_URI))
        _show_model(used)
        one, many = st.tabs(["One review", "A file of reviews"])
        with one, _errors_as_lines():
            _show_one(used)
        with many, _errors_as_lines():
            show_file_tab(used)


@contextmanager
def _errors_as_lines() -> Iterator[None]:
    """Show an error as one line; log an unexpected one without its message, which may contain a review."""
    try:
        yield
    except ModelError as error:
        st.error(escape_markdown(f"{error} (the model of this page is set by {MODEL_URI_VARIABLE})"))
    except SentimentError as error:
        st.error(escape_markdown(str(error)))
    except Exception as error:  # noqa: BLE001 the outermost handler: it reports the error
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error("unexpected %s at %s:%s", type(error).__name__, place.filename, place.lineno)
        st.error(f"Unexpected {type(error).__name__}: nothing was scored. The log of the app has its place.")


@st.cache_resource(show_spinner="Loading the model …")
def _load_model(uri: str) -> ModelInUse:
    return open_model(uri, HOME)


def _show_model(used: ModelInUse) -> None:
    with st.sidebar:
        st.subheader("Model in use")
        st.code(used.reference.uri, language=None, wrap_lines=True)
        st.text(f"Version {used.reference.version}")
        st.text(f"Engine {used.model.engine} on {used.model.instruction_set}")
        if used.model.engine_warning is not None:
            st.warning(escape_markdown(used.model.engine_warning))
        if used.reference.text_col:
            st.text(f"Trained on column {used.reference.text_col}")
        if st.button("Load again", help="Load the model again, for example after a new version is in use"):
            _load_model.clear()
            st.rerun()


def _show_one(used: ModelInUse) -> None:
    with st.form("one"):
        text = st.text_area("Review", height=150, placeholder="Paste or type one product review")
        if st.form_submit_button("Score the review", type="primary"):
            # If the model fails on this review, the page must not show the prediction of the review before.
            st.session_state.pop(_PREDICTED, None)
            prediction = predict(used, [text]).iloc[0].to_dict()
            st.session_state[_PREDICTED] = (used.reference.version, prediction)
    version, prediction = st.session_state.get(_PREDICTED, (None, None))
    if version == used.reference.version and prediction is not None:
        _show_prediction(prediction)


def _show_prediction(prediction: dict[str, object]) -> None:
    reason = prediction[schema.REJECT_REASON]
    if isinstance(reason, str):
        st.warning(escape_markdown(f"No label: {explain_reject(reason)}."))
        return
    row = pd.Series(prediction)
    label, n_tokens = st.columns(2)
    label.metric("Label", row[schema.LABEL])
    n_tokens.metric("Tokens read", f"{row[schema.N_TOKENS]:,}")
    st.progress(float(row[schema.SCORE]), text=f"Score {row[schema.SCORE]:.3f} (probability of the label)")
    if schema.EXPECTED in row:
        st.text(f"Expected value {row[schema.EXPECTED]:.2f} (mean of the labels, weighted by probability)")
    if row[schema.UNSURE]:
        st.warning("Unsure: the score is below the one that this model needs to be acted on.")
    if row[schema.TRUNCATED]:
        st.info(f"The review is too long: the model reads only {row[schema.N_TOKENS]:,} of its tokens.")


if __name__ == "__main__":
    main()
