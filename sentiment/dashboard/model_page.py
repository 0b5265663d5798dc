"""Show the page of the model: versions, report and card, promotions, and forms that move the alias."""

import html
import os

import pandas as pd
import streamlit as st

from ..evaluation.history import find_decisions
from ..models import ledger, registry, versions
from .hints import show_hint
from .promotion_form import show_promotion
from .settings import HOME, read_settings
from .wording import escape_markdown

_COMMAND = "python jobs/finetune.py --dataset_name sample --alias champion"
_ALIAS = "champion"
_METRICS = {
    "test_accuracy": "accuracy",
    "test_f1_macro": "macro F1",
    "test_ece": "calibration error",
}
_REPORT_HEIGHT = 900
_SHOWN_VERSIONS = 20


def show() -> None:
    """Show the page; raise a ModelError if the registry does not answer."""
    settings = read_settings(os.environ)
    if not settings.model_uri.startswith("models:/"):
        st.info(escape_markdown(f"The model {settings.model_uri} is in no registry, so it has no versions."))
        return
    registry.use_tracking(HOME)
    name = registry.find_name(settings.model_uri)
    alias = settings.model_uri.partition("@")[2] or _ALIAS
    found = versions.list_versions(name) if registry.check_store() else []
    if not found:
        show_hint(f"The registry has no model {name}. This command makes one:", _COMMAND)
        return
    moves = ledger.read_ledger(name, alias)
    _show_versions(name, found, moves)
    _show_documents(name, found, moves)
    _show_history(found, moves)
    show_promotion(name, found, moves, settings.admin_token)


def _show_versions(name: str, found: list[versions.Version], moves: ledger.Ledger) -> None:
    st.subheader("Champion and challengers")
    places = st.columns(2)
    places[0].metric("Model", name)
    champion = moves.champion
    places[1].metric(f"Alias {moves.alias}", "none" if champion is None else f"version {champion}")
    rows = []
    for version in found[:_SHOWN_VERSIONS]:
        metrics = versions.load_metrics(version)
        figures = {title: metrics.get(key) for key, title in _METRICS.items()}
        role = "champion" if version.number == champion else "challenger"
        facts = {"version": version.number, "role": role, "aliases": ", ".join(version.aliases)}
        rows.append({**facts, "created": version.created, **figures, "run": version.run_id})
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, alt="Versions of the model, the newest first",
        column_config={
            "created": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            **{title: st.column_config.NumberColumn(format="%.3f") for title in _METRICS.values()},
        },
    )  # fmt: skip
    if len(found) > _SHOWN_VERSIONS:
        st.caption(f"The newest {_SHOWN_VERSIONS} of {len(found):,} versions.")
    st.caption(
        "Each version has the figures of its own test set; only a promotion compares two on the same reviews."
    )


def _show_documents(name: str, found: list[versions.Version], moves: ledger.Ledger) -> None:
    st.subheader("Report and card")
    numbers = [version.number for version in found]
    start = numbers.index(moves.champion) if moves.champion in numbers else 0
    chosen = found[numbers.index(st.selectbox("Version", numbers, index=start))]
    card, report = st.tabs(["Model card", "Evaluation report"])
    with card:
        text = versions.load_card(name, chosen)
        if text is None:
            st.info("This version has no model card. Fine-tune it again with this version of the project.")
        else:
            # Neither the front matter for the hub, nor images from elsewhere.
            st.markdown(text.rpartition("\n---\n")[2].replace("![", "!\\["))
    with report:
        page = versions.load_report(chosen)
        if page is None:
            st.info("The run of this version has no evaluation report. Fine-tune it again with this version.")
        else:
            st.download_button("Download the report", page, f"{name}-{chosen.number}.html", "text/html")
            # The report is a file of the registry: it gets a frame without rights and without scripts.
            frame = f'<iframe sandbox title="Evaluation report" srcdoc="{html.escape(page)}"'
            style = f"width:100%;height:{_REPORT_HEIGHT - 20}px;border:0;background:white"
            st.iframe(f'{frame} style="{style}"></iframe>', height=_REPORT_HEIGHT)


def _show_history(found: list[versions.Version], moves: ledger.Ledger) -> None:
    st.subheader("History of promotions")
    decisions = [
        {
            "at": decision["at"],
            "challenger": version.number,
            "outcome": decision["outcome"],
            "champion then": decision["champion"] or "none",
            "failed gates": ", ".join(
                str(gate["name"]) for gate in decision.get("gates", []) if gate["is_passed"] is False
            ),
            "run": decision.get("run_id", ""),
        }
        for version in found
        for decision in find_decisions(version.tags, moves.alias)
    ]
    if not decisions:
        show_hint(
            "No promotion was decided yet. This command judges a challenger:",
            f"python jobs/promote.py --challenger models:/{moves.name}/{found[0].number} --test FILE",
        )
        return
    st.dataframe(
        pd.DataFrame(decisions).sort_values("at", ascending=False),
        hide_index=True,
        alt="Decisions, the newest first",
    )
    moved = [
        f"{entry.move.before or 'none'} → {entry.move.after} ({entry.move.kind})" for entry in moves.entries
    ]
    if moved:
        st.caption(escape_markdown(f"Moves of the alias, in order: {', '.join(moved)}"))
