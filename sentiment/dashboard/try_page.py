"""Show the page on which a reader scores one review, and sees which words pushed its label."""

import pandas as pd
import streamlit as st

from .. import schema
from ..models.occlusion import MAX_PARTS
from ..models.predictions import Prediction
from .figures import show_figures
from .highlights import MIN_WEIGHT, describe_weight, mark_words
from .model import ModelInUse, Word, explain
from .model_panel import use_model
from .wording import escape_markdown, explain_reject

# Session key of the last prediction, with the version of its model, the text and its words.
_PREDICTED = "predicted"
_SHOWN_WORDS = 12


def show() -> None:
    """Show the page; raise a ModelError if the model fails."""
    with st.form("one"):
        text = st.text_area("Review", height=150, placeholder="Paste or type one product review")
        is_asked = st.form_submit_button("Score the review", type="primary")
    # After the form, so that the reader can type while the model is loaded.
    used = use_model()
    if is_asked:
        # If the model fails on this review, the page must not show the prediction of the review before.
        st.session_state.pop(_PREDICTED, None)
        with st.spinner("Scoring …"):
            st.session_state[_PREDICTED] = (used.reference.version, text, *explain(used, text))
    version, text, prediction, words = st.session_state.get(_PREDICTED, (None, "", None, []))
    if version == used.reference.version and prediction is not None:
        _show_prediction(used, prediction)
        if words:
            _show_words(text, words, prediction[schema.LABEL])


def _show_prediction(used: ModelInUse, prediction: Prediction) -> None:
    reason = prediction[schema.REJECT_REASON]
    if reason is not None:
        st.warning(escape_markdown(f"No label: {explain_reject(reason)}."))
        return
    figures = {
        "Label": prediction[schema.LABEL],
        "Score": _show_score(prediction[schema.SCORE]),
        "Sure enough": "no, unsure" if prediction[schema.UNSURE] else "yes",
        "Tokens read": f"{prediction[schema.N_TOKENS]:,}",
    }
    if prediction.get(schema.EXPECTED) is not None:
        figures["Expected"] = f"{prediction[schema.EXPECTED]:.2f}"
    show_figures(figures)
    st.caption(
        "The score is the calibrated probability of the label: of 100 reviews with a score of 0.9, about 90 "
        "have the right label."
        + (" Expected is the mean of the labels' values." if schema.EXPECTED in prediction else "")
    )
    if prediction[schema.UNSURE]:
        st.warning("Unsure: the score is below the one that this model needs to be acted on.")
    if prediction[schema.TRUNCATED]:
        st.info(
            f"The review is too long: the model reads only {prediction[schema.N_TOKENS]:,} of its tokens."
        )
    labels = used.model.labels
    if len(labels) > 2:
        bars = pd.DataFrame({"label": labels, "probability": prediction[schema.PROBABILITIES]})
        listed = ", ".join(f"{row.label} {row.probability:.3f}" for row in bars.itertuples())
        st.bar_chart(
            bars, x="label", y="probability", horizontal=True, sort=False, height=60 + 30 * len(bars),
            alt=f"Probability of each label: {listed}",
        )  # fmt: skip


def _show_score(score: float) -> str:
    """Return a score with three decimals; no score is certain, so none is shown as 1."""
    return "> 0.999" if score >= 0.9995 else f"{score:.3f}"


def _show_words(text: str, words: list[Word], label: str) -> None:
    st.subheader("Words that pushed the label")
    st.html(mark_words(text, words, label))
    if max(abs(word.weight) for word in words) < MIN_WEIGHT:
        st.info(
            f"No single word changes the probability by {MIN_WEIGHT} or more: many words say the "
            "same. The table below has the small differences."
        )
    parts = (
        ""
        if len(words) < MAX_PARTS
        else f" A long review is cut into at most {MAX_PARTS} parts of equal words."
    )
    st.caption(
        escape_markdown(
            "How this is computed: each word is left out once, and the model scores the rest again "
            f"(occlusion). Blue, with a solid line: the probability of {label} falls without the word. "
            "Orange, with a dashed line: it rises. The stronger the colour, the larger the change. It says "
            f"what the model reacts to, not why.{parts}"
        )
    )
    with st.expander("The strongest words as a table"):
        strongest = sorted(words, key=lambda word: -abs(word.weight))[:_SHOWN_WORDS]
        st.table(
            pd.DataFrame(
                {
                    "effect": [escape_markdown(describe_weight(word.weight, label)) for word in strongest],
                },
                index=pd.Index(
                    [escape_markdown(text[word.start : word.end]) for word in strongest], name="word"
                ),
            )
        )
