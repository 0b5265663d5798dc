"""Show what to run where there is nothing to show."""

import streamlit as st

from .wording import escape_markdown


def show_hint(sentence: str, command: str) -> None:
    """Show a sentence, which may hold any text, and the command that it speaks of."""
    st.info(escape_markdown(sentence))
    st.code(command, language="bash", wrap_lines=True)
