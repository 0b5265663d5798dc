"""Show the forms that move the alias of the champion, and follow the job that does it."""

import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from ..errors import ModelNotFoundError, SentimentError
from ..job_process import JobProcess
from ..models import ledger, versions
from . import promotions
from .hints import show_hint
from .settings import ADMIN_TOKEN_VARIABLE, HOME
from .wording import escape_markdown

# A wrong token costs the one who guesses this time.
_WRONG_TOKEN_SECONDS = 1


def show_promotion(
    name: str, found: list[versions.Version], moves: ledger.Ledger, admin_token: str | None
) -> None:
    """Show a form to promote and one to roll back, if there is a token, and the newest job."""
    st.subheader("Promote")
    held = _hold_promotions()
    if held:
        _show_job(*held[-1])
    if admin_token is None:
        st.info(f"Promotion is off here, as {ADMIN_TOKEN_VARIABLE} is not set. `jobs/promote.py` works.")
        return
    _show_promote_form(name, found, moves, admin_token)
    _show_rollback_form(name, moves, admin_token)


def _show_promote_form(
    name: str, found: list[versions.Version], moves: ledger.Ledger, admin_token: str
) -> None:
    challengers = [version.number for version in found if version.number != moves.champion]
    if not challengers:
        show_hint(
            "There is no challenger: the only version is the champion. This command makes another:",
            f"python jobs/finetune.py --dataset_name sample --registered_model_name {name}",
        )
        return
    with st.form("promote", clear_on_submit=True):
        challenger = st.selectbox("Challenger", challengers)
        test = st.text_input(
            "Labelled reviews that neither model was trained on", placeholder="held_out.parquet"
        )
        dry_run = st.checkbox("Only judge, move nothing")
        given = st.text_input("Token", type="password")
        is_asked = st.form_submit_button("Judge and promote", type="primary")
    if not is_asked or not _check_token(given, admin_token):
        return
    if not test.strip():
        st.error("Give the labelled reviews: both models are judged on them.")
        return
    uri = f"models:/{name}/{challenger}"
    _start(uri, promotions.make_promotion(HOME, uri, test.strip(), moves.alias, dry_run))


def _show_rollback_form(name: str, moves: ledger.Ledger, admin_token: str) -> None:
    st.subheader("Roll back")
    try:
        before = ledger.find_champion_before(moves)
    except ModelNotFoundError as error:
        st.info(escape_markdown(f"Nothing to roll back. {error}"))
        return
    st.caption(f"The alias {moves.alias} goes back to version {before}, which is not judged again.")
    with st.form("rollback", clear_on_submit=True):
        given = st.text_input("Token for the rollback", type="password")
        is_asked = st.form_submit_button("Roll back")
    if is_asked and _check_token(given, admin_token):
        _start(f"models:/{name}/{before}", promotions.make_rollback(HOME, name, moves.alias))


def _check_token(given: str, expected: str) -> bool:
    if promotions.is_right_token(given, expected):
        return True
    time.sleep(_WRONG_TOKEN_SECONDS)
    st.error("The token is wrong. Nothing was done.")
    return False


def _start(subject: str, command: list[str]) -> None:
    held = _hold_promotions()
    held.append((subject, promotions.start(HOME, command)))
    _show_job(*held[-1])


@st.cache_resource
def _hold_promotions() -> list[tuple[str, JobProcess]]:
    """Return the jobs that this app has started: a page that is opened again shows the newest."""
    return []


def _show_job(subject: str, job: JobProcess) -> None:
    """Follow a job to its end, and show how it ended."""
    with st.status(f"{subject} …", expanded=True) as status:
        place = st.empty()
        for line in job.follow():
            place.text(line)
        error = None
        try:
            summary: Mapping[str, Any] = job.finish()
        except SentimentError as found:
            error, summary = found, found.summary or {}
        code = 0 if error is None else error.exit_code
        status.update(label=f"The job ended with exit code {code}", state="complete", expanded=False)
    gates = summary.get("gates", [])
    if error is None:
        st.success(escape_markdown(f"{subject}: {summary['outcome']}"))
        if summary.get("settled"):
            st.info(escape_markdown(summary["settled"]))
    else:
        st.error(escape_markdown(str(error)))
    if summary.get("run_id"):
        st.caption("The decision is in the history above when the page is opened again.")
    if gates:
        words = {True: "passed", False: "FAILED", None: "not judged"}
        rows = [
            {"gate": g["name"], "result": words[g["is_passed"]], "figure and bound": g["sentence"]}
            for g in gates
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Gates")
