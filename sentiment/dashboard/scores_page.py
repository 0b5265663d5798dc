"""Show the page of the published scores: trend, breakdown, filter, rows, and corrections of labels."""

import os

import pandas as pd
import streamlit as st

import sentiment

from .. import schema
from ..errors import MissingInputError
from . import scores as tables
from . import trends
from .charts import draw_bars, draw_trend
from .correction_form import show_rows
from .figures import show_figures
from .hints import show_hint
from .paths import choose_path
from .settings import REVIEWS_VARIABLE, SCORES_VARIABLE, Settings, read_settings
from .wording import escape_markdown

# Reading again is the reader's choice, or happens after this time: the table changes once a night.
_KEPT_SECONDS = 900
_COMMAND = "spark-submit jobs/score_reviews.py --input sample --output var/scores"


def show() -> None:
    """Show the page; raise an InputError or StoreError if a path cannot be used."""
    settings = read_settings(os.environ)
    with st.expander("Tables", expanded=settings.scores is None):
        path = choose_path(
            "Published scores", "scores_path", settings.scores, SCORES_VARIABLE,
            "Folder that the scoring job writes.",
        )  # fmt: skip
        reviews_path = choose_path(
            "Reviews that were scored", "reviews_path", settings.reviews, REVIEWS_VARIABLE,
            "Optional: Parquet file or folder with the texts, for rows, categories and dates.",
        )  # fmt: skip
        if st.button("Read again", help="Read the tables again, for example after a night"):
            _load.clear()
            _read.clear()
    if path is None:
        show_hint(
            "No table is chosen. Type the folder of the scores above. This command makes one:", _COMMAND
        )
        return
    try:
        scores = _load(path)
    except MissingInputError as error:
        show_hint(f"No scores yet: {error}. This command makes some:", _COMMAND)
        return
    ids = tables.find_id_columns(scores)
    reviews = tables.find_reviews(reviews_path, ids) if reviews_path else None
    _show_table(scores, reviews, ids, settings)


def _show_table(
    scores: pd.DataFrame, reviews: tables.Reviews | None, ids: list[str], settings: Settings
) -> None:
    categories, dates = tables.find_category_columns(reviews, ids), tables.find_date_columns(reviews)
    period, date_column, measure, category = _choose_view(scores, dates, categories)
    wanted = [name for name in (date_column, category) if name and name not in scores.columns]
    joined = scores
    if reviews is not None and wanted:
        joined = tables.join_reviews(scores, _read(reviews, tuple(ids), tuple(wanted)), ids)
    joined = joined.assign(**{trends.PERIOD: trends.parse_dates(joined[date_column])})
    kept = _filter(joined, category)
    _show_figures(kept, len(scores))
    if kept.empty:
        st.info("No score matches the filter.")
        return
    _show_trend(kept, measure, period)
    if category is not None:
        _show_breakdown(kept, category, measure)
    show_rows(kept.drop(columns=trends.PERIOD), reviews, ids, settings)


def _choose_view(
    scores: pd.DataFrame, dates: list[str], categories: list[str]
) -> tuple[str, str, trends.Measure, str | None]:
    measures = {measure.title: measure for measure in trends.list_measures(scores)}
    places = st.columns(4)
    measure = places[0].selectbox("Show", list(measures))
    period = places[1].selectbox(
        "By", list(trends.PERIODS), index=int(bool(dates)), format_func=trends.PERIODS.__getitem__
    )
    date_column = places[2].selectbox("Date", [*dates, schema.SCORED_AT])
    category = places[3].selectbox(
        "Break down by", [None, schema.LABEL, schema.MODEL_VERSION, *categories],
        index=3 if categories else 1,
        format_func=lambda name: name or "nothing",
    )  # fmt: skip
    return period, date_column, measures[measure], category


def _filter(joined: pd.DataFrame, category: str | None) -> pd.DataFrame:
    """Return the rows that the reader wants."""
    with st.expander("Filter"):
        chosen: dict[str, list[object]] = {}
        for column in dict.fromkeys((schema.LABEL, category or schema.LABEL)):
            values = sorted(joined[column].dropna().unique(), key=str)
            chosen[column] = st.multiselect(f"Only {column}", values[: tables.MAX_FILTER_VALUES])
            if len(values) > tables.MAX_FILTER_VALUES:
                st.caption(f"The first {tables.MAX_FILTER_VALUES:,} of {len(values):,} values are listed.")
        low, high = st.slider("Score", 0.0, 1.0, (0.0, 1.0), 0.01)
        has_unsure = schema.UNSURE in joined
        unsure_only = has_unsure and st.checkbox("Only unsure")
        known = joined[trends.PERIOD].dropna()
        span = days = None
        if not known.empty:
            span = (known.min().date(), known.max().date())
            days = st.date_input("Days", span, min_value=span[0], max_value=span[1])
    kept = trends.keep_rows(joined, chosen, low, high, unsure_only)
    # There is one day while the reader chooses the second. Rows without a date stay until days are chosen.
    if days is not None and len(days) == 2 and days != span:
        kept = kept[kept[trends.PERIOD].dt.date.between(days[0], days[1])]
    return kept


def _show_figures(kept: pd.DataFrame, n_all: int) -> None:
    figures = {"Reviews": f"{len(kept):,} of {n_all:,}"}
    if len(kept):
        shares = kept[schema.LABEL].value_counts(normalize=True)
        figures |= {str(label): f"{share:.1%}" for label, share in shares.head(3).items()}
        if schema.UNSURE in kept:
            figures["Unsure"] = f"{kept[schema.UNSURE].astype(float).mean():.1%}"
    show_figures(figures)


def _show_trend(kept: pd.DataFrame, measure: trends.Measure, period: str) -> None:
    st.subheader(f"{measure.title.capitalize()} by {trends.PERIODS[period].lower()}")
    found = trends.sum_up_periods(kept, kept[trends.PERIOD], measure, period)
    undated = int(kept[trends.PERIOD].isna().sum())
    if undated:
        st.caption(f"{undated:,} reviews without a date are not in the trend.")
    if found.empty:
        return
    draw_trend(found, measure)
    last = found.iloc[-1]
    if pd.notna(last[trends.CHANGE]):
        unit = (
            f"{100 * last[trends.CHANGE]:+.1f} points" if measure.is_share else f"{last[trends.CHANGE]:+.2f}"
        )
        st.caption(f"Last {trends.PERIODS[period].lower()}: {unit} compared with the one before.")
    with st.expander("As a table"):
        st.dataframe(
            found.iloc[::-1], hide_index=True, alt="The trend as a table",
            column_config={trends.PERIOD: st.column_config.DateColumn()},
        )  # fmt: skip


def _show_breakdown(kept: pd.DataFrame, category: str, measure: trends.Measure) -> None:
    st.subheader(escape_markdown(f"{measure.title.capitalize()} by {category}"))
    found = trends.sum_up_categories(kept, category, measure)
    draw_bars(found, category, measure)
    with st.expander("As a table"):
        st.dataframe(found, hide_index=True, alt="The breakdown as a table")


@st.cache_resource(ttl=_KEPT_SECONDS, max_entries=2, show_spinner="Reading the scores …")
def _load(path: str) -> pd.DataFrame:
    return sentiment.load_scores(path)


@st.cache_resource(ttl=_KEPT_SECONDS, max_entries=4, show_spinner="Reading the reviews …")
def _read(reviews: tables.Reviews, ids: tuple[str, ...], names: tuple[str, ...]) -> pd.DataFrame:
    return tables.read_columns(reviews, ids, names)
