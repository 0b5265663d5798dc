"""The page that `app.sh` shows: one review, or a file of them, through the model in use.

Streamlit runs this file from top to bottom at every click. Review text and uploads stay in the memory of
the user's session: they are shown and given back to that user, never written, logged or put in an error.
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

# Comments, not docstrings: Streamlit shows a bare string of this file on the page.
# The project's folder: without a tracking server, its `var` holds the models.
HOME = Path(__file__).resolve().parents[2]
MODEL_URI_VARIABLE = "SENTIMENT_MODEL_URI"
_LOG = logging.getLogger("sentiment.dashboard")
# Key of the model's version and its prediction for the one review, which outlive a click elsewhere.
_PREDICTED = "predicted"


def main() -> None:
    """Show the page."""
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
    """Turn an error into one line on the page; of an unknown one the log gets the place, not the message."""
    try:
        yield
    except ModelError as error:
        st.error(escape_markdown(f"{error} (this page takes its model from {MODEL_URI_VARIABLE})"))
    except SentimentError as error:
        st.error(escape_markdown(str(error)))
    except Exception as error:  # noqa: BLE001 the edge of the program: reported, never passed over
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error("unexpected %s at %s:%s", type(error).__name__, place.filename, place.lineno)
        st.error(f"Unexpected {type(error).__name__}: nothing was scored. The app's log says where.")


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
        if st.button("Load again", help="Fetch the model anew, for instance after a promotion"):
            _load_model.clear()
            st.rerun()


def _show_one(used: ModelInUse) -> None:
    with st.form("one"):
        text = st.text_area("Review", height=150, placeholder="Paste or type one product review")
        if st.form_submit_button("Score the review", type="primary"):
            # If the model fails on this review, the answer to the one before must not stand below it.
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
    if row[schema.TRUNCATED]:
        st.info(f"The review is longer than the model reads: {row[schema.N_TOKENS]:,} of its tokens count.")


if __name__ == "__main__":
    main()
