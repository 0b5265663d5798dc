"""Show figures in a row that wraps where the screen is narrow."""

from collections.abc import Mapping

import streamlit as st


def show_figures(figures: Mapping[str, str], changes: Mapping[str, str | None] | None = None) -> None:
    """Show each value below its name; `changes` adds the change from the time before, by name."""
    known = changes or {}
    with st.container(horizontal=True, gap="medium"):
        for name, value in figures.items():
            st.metric(name, value, known.get(name), delta_color="off", width="content")
