"""Load the model of the app once for all sessions, and show in the sidebar which one it is."""

import os

import streamlit as st

from .model import ModelInUse, open_model
from .settings import HOME, read_settings
from .wording import escape_markdown


def use_model() -> ModelInUse:
    """Return the model in use, and show it in the sidebar. Raises a ModelError."""
    with st.spinner("Loading the model …", show_time=True):
        used = _load_model(read_settings(os.environ).model_uri)
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
    return used


@st.cache_resource(show_spinner=False)
def _load_model(uri: str) -> ModelInUse:
    return open_model(uri, HOME)
