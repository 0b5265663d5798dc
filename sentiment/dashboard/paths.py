"""Let the reader type a path that the operator has not set."""

import streamlit as st

from .wording import escape_markdown


def choose_path(title: str, key: str, fixed: str | None, variable: str, help_text: str) -> str | None:
    """Return the path of the operator, else what the reader typed; None if there is neither."""
    if fixed is not None:
        st.caption(escape_markdown(f"{title}: {fixed} (set by {variable})"))
        return fixed
    typed = st.text_input(title, key=key, help=f"{help_text} The operator may fix it by {variable}.")
    return typed.strip() or None
