"""Draw the charts of the pages; each has its figures in words for screen readers."""

import altair as alt
import pandas as pd
import streamlit as st

from .trends import CHANGE, PERIOD, REVIEWS, Measure

_HEIGHT = 260
_BAR_HEIGHT = 26
# Clear on white and on black, and different for colour-blind readers.
_COLOURS = ["#3b82f6", "#ea580c", "#0d9488", "#a855f7", "#ca8a04", "#64748b"]


def draw_trend(found: pd.DataFrame, measure: Measure) -> None:
    """Draw a measure over time, with its change and the number of reviews where the reader points."""
    style = "%" if measure.is_share else ".2f"
    chart = (
        alt.Chart(found)
        .mark_line(point=len(found) <= 60, interpolate="linear")
        .encode(
            x=alt.X(f"{PERIOD}:T", title=None),
            y=alt.Y(
                _escape(measure.title), type="quantitative", title=None, axis=alt.Axis(format=style)
            ).scale(zero=False),
            tooltip=[
                alt.Tooltip(f"{PERIOD}:T", title="from"),
                alt.Tooltip(_escape(measure.title), type="quantitative", format=".3f", title=measure.title),
                alt.Tooltip(f"{CHANGE}:Q", format="+.3f", title="change from the period before"),
                alt.Tooltip(f"{REVIEWS}:Q", format=",", title=REVIEWS),
            ],
        )
        .properties(height=_HEIGHT)
    )
    first, last = found.iloc[0], found.iloc[-1]
    st.altair_chart(
        chart,
        alt=f"{measure.title} in {len(found)} periods, from {first[measure.title]:.3f} on "
        f"{first[PERIOD]:%d %B %Y} to {last[measure.title]:.3f} on {last[PERIOD]:%d %B %Y}; "
        "the table below has all of them",
    )


def draw_bars(found: pd.DataFrame, name: str, measure: Measure) -> None:
    """Draw a measure by category, in the order of the table."""
    chart = (
        alt.Chart(found)
        .mark_bar()
        .encode(
            x=alt.X(
                _escape(measure.title),
                type="quantitative",
                title=measure.title,
                axis=alt.Axis(format="%" if measure.is_share else ".2f"),
            ),
            y=alt.Y(_escape(name), type="nominal", sort=None, title=None, axis=alt.Axis(labelLimit=160)),
            tooltip=[
                alt.Tooltip(_escape(name), type="nominal", title=name),
                alt.Tooltip(_escape(measure.title), type="quantitative", format=".3f", title=measure.title),
                alt.Tooltip(f"{REVIEWS}:Q", format=",", title=REVIEWS),
            ],
        )
        .properties(height=60 + _BAR_HEIGHT * len(found))
    )
    st.altair_chart(chart, alt=f"{measure.title} by {name}; the table below has the figures")


def draw_lines(found: pd.DataFrame, x: str, columns: list[str], style: str, title: str) -> None:
    """Draw several columns of a table over time, one line each."""
    st.markdown(f"**{title}**")
    long = found.melt(id_vars=x, value_vars=columns, var_name="figure", value_name="value").dropna(
        subset=["value"]
    )
    chart = (
        alt.Chart(long)
        .mark_line(point=long[x].nunique() <= 60)
        .encode(
            x=alt.X(f"{x}:T", title=None),
            y=alt.Y("value:Q", title=None, axis=alt.Axis(format=style)).scale(zero=False),
            color=alt.Color(
                "figure:N",
                title=None,
                scale=alt.Scale(range=_COLOURS),
                legend=alt.Legend(orient="bottom", labelLimit=260, columns=2),
            ),
            strokeDash=alt.StrokeDash("figure:N", title=None, legend=None),
            tooltip=[alt.Tooltip(f"{x}:T"), "figure:N", alt.Tooltip("value:Q", format=".4")],
        )
        .properties(height=_HEIGHT)
    )
    st.altair_chart(chart, alt=f"{title}: {', '.join(columns)} over {long[x].nunique()} nights")


def _escape(name: str) -> str:
    """Return the name of a column as Vega takes it: dots, brackets and colons have a meaning there."""
    for character in "\\.[]:":
        name = name.replace(character, f"\\{character}")
    return name
