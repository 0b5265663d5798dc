import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from sentiment.evaluation.baselines import Baseline
from sentiment.evaluation.facts import Champion, ReportFacts, examine
from sentiment.evaluation.figures import draw_figures
from sentiment.evaluation.label_errors import LabelError, LabelErrors
from sentiment.evaluation.report import SECTIONS, build_sections, render_report, write_report
from sentiment.evaluation.sections import describe_calibration, describe_worst
from sentiment.inference.calibration import Calibration
from sentiment.inference.linear import OpinionPool
from tests.factories import CANARY

from .rows import THREE, make_judged, make_random

STARS = ("1", "2", "3", "4", "5")
# Only these are never missing.
ALWAYS = {"metrics", "labels", "slices", "calibration", "coverage"}


def make_facts(labels=THREE, **facts):
    judged = make_random(
        300,
        labels,
        n_tokens=np.arange(300) % 80,
        category=["<b>books</b>", "$5 & $9"] * 150,
        text=CANARY,
        title=CANARY,
    )
    return ReportFacts("models:/shop/3", judged, **facts)


def make_full_facts(labels=THREE):
    judged = make_facts(labels).judged
    length = SimpleNamespace(
        max_length=128,
        truncation="head",
        accuracy=0.8,
        tokens_per_review=90.0,
        truncated_share=0.2,
        seconds=2.0,
    )
    engine = SimpleNamespace(
        engine="int8", rows=200, accuracy_loss_points=0.1, flip_share=0.01, mean_shift=0.01, is_passed=False
    )
    cascade = SimpleNamespace(
        threshold=0.95,
        pool=OpinionPool(0.8, 0.55),
        rows=300,
        accuracy_encoder=0.9,
        accuracy_pooled=0.905,
        accuracy_pair=0.91,
        accuracy_linear=0.8,
        share_early=0.25,
        curve=[SimpleNamespace(threshold=t, share_early=0.3, accuracy=0.9) for t in (0.93, 0.95)],
    )
    return ReportFacts(
        "models:/shop/3",
        judged,
        created="28 November 2026",
        base_model="minilm",
        licence="Apache-2.0",
        uncalibrated=judged.probabilities**2 / (judged.probabilities**2).sum(axis=1, keepdims=True),
        calibration=Calibration(2.0),
        baselines={"majority": Baseline(0.4, 0.3)},
        champion=Champion("models:/shop/2", replace(judged, probabilities=judged.probabilities[:, ::-1])),
        lengths=[length, replace_all(length, truncation="head_tail", seconds=1.0)],
        max_length=128,
        engine="f32",
        engine_reason="the first that passed",
        engines=[engine],
        cascade=cascade,
        test_labels=LabelErrors(300, (LabelError(7, "r7", labels[0], labels[1], 0.97),), 0.8, 0.82),
        train_labels=LabelErrors(900, (), 0.8, 0.8),
        data={"data set": "reviews.parquet", "training reviews": 2400},
        recipe={"learning rate": 2e-5},
    )


def replace_all(point, **values):
    return SimpleNamespace(**vars(point) | values)


class Page(HTMLParser):
    """Collects ids, references and unclosed tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.references, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src"):
                self.references.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.remove(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(examine(make_full_facts()), path)
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def bare():
    return render_report(examine(make_facts(created="<script>", base_model="a&b")))


@pytest.mark.parametrize("labels", [("no", "yes"), STARS, tuple(f"class {i}" for i in range(12))])
def test_a_report_is_made_for_any_labels(labels):
    findings = examine(ReportFacts("m", make_random(120, labels)))
    sections = build_sections(findings)
    assert [row[0] for row in sections["labels"].table.rows] == list(labels)
    has_error = "mean absolute error" in [row[0] for row in sections["metrics"].table.rows]
    assert has_error == (labels == STARS)
    [axes] = draw_figures(findings)["confusion_matrix"].axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(labels)


@pytest.mark.parametrize("name", ["full", "bare"])
def test_the_page_is_well_formed_and_links_nothing_from_outside(name, request):
    text = request.getfixturevalue(name)
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert [link for link in page.references if link[0] != "#" or link[1:] not in page.ids] == []
    assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in text


@pytest.mark.parametrize(
    ("threshold", "pool", "sentences"),
    [
        (0.95, OpinionPool(), ("From a score of 0.95 on", "The encoder decides the reviews that it reads.")),
        (
            None,
            OpinionPool(0.8, 0.55),
            ("No threshold is known to keep", "are 0.80 (encoder) and 0.55 (linear stage)."),
        ),
    ],
)
def test_the_cascade_states_what_each_stage_decides(threshold, pool, sentences):
    facts = make_full_facts()
    facts.cascade.threshold, facts.cascade.pool = threshold, pool
    text = " ".join(build_sections(examine(facts))["cascade"].sentences)
    assert [sentence for sentence in sentences if sentence not in text] == []


def test_letters_of_figures_are_text_in_the_colour_of_the_page(full):
    assert ">predicted</text>" in full
    assert "#000000" not in full
    assert "stroke: currentColor" in full


def test_with_all_facts_no_section_is_missing():
    sections = build_sections(examine(make_full_facts()))
    assert [why for why in sections.values() if isinstance(why, str)] == []
    assert list(sections) == list(SECTIONS)
    assert {section.title for section in sections.values()} == {
        section.title for section in SECTIONS.values()
    }


def test_each_missing_section_has_a_sentence():
    sections = build_sections(examine(make_facts()))
    missing = {name: why for name, why in sections.items() if isinstance(why, str)}
    assert set(SECTIONS) - set(missing) == ALWAYS
    assert all(why.endswith(".") for why in missing.values())


def test_a_run_may_know_better_why_a_section_is_missing():
    facts = make_facts(missing={"champion": "The champion has other labels.", "uncalibrated": "Lost it."})
    sections = build_sections(examine(facts))
    assert sections["champion"] == "The champion has other labels."
    assert sections["calibration"].sentences[1] == "Lost it."


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setattr("sentiment.evaluation.choices.has_cleanlab", lambda: False)
    sections = build_sections(examine(make_facts()))
    assert sections["test_labels"] == "The package cleanlab is not installed, so labels were not checked."


def test_values_are_escaped(bare):
    assert "<b>books" not in bare
    assert "<script>" not in bare
    assert "&lt;b&gt;books" in bare
    assert ">category $5 &amp; $9</text>" in bare  # in the figure it is no formula


def test_review_text_is_in_the_report_only_if_it_is_given(full):
    assert CANARY not in full
    texts = [f"{CANARY} {i}" for i in range(300)]
    table = build_sections(examine(make_full_facts()), texts)["test_labels"].table
    assert table.rows == (("r7", "calm", "happy", f"{CANARY} 7", "0.970"),)


def test_the_worst_slice_is_named():
    judged = make_judged([0] * 200, [0] * 150 + [1] * 50, category=["good"] * 120 + ["bad"] * 80)
    sentence = (
        "The worst slice is category = bad: accuracy 0.375 (0.277 to 0.485) on 80 reviews, compared with "
        "0.750 on all."
    )
    assert describe_worst(examine(ReportFacts("m", judged))) == sentence


def test_a_slice_that_may_be_worse_by_chance_is_not_called_the_worst():
    predicted = [0] * 88 + [1] * 12 + [0] * 92 + [1] * 8
    judged = make_judged([0] * 200, predicted, category=["a"] * 100 + ["b"] * 100)
    assert describe_worst(examine(ReportFacts("m", judged))).startswith("No slice is surely worse")


def test_small_slices_and_missing_columns_are_said():
    judged = make_random(100, category=["a"] * 95 + ["b"] * 5)
    [_, small, absent] = build_sections(examine(ReportFacts("m", judged)))["slices"].sentences
    assert small == "Slices of fewer than 30 reviews are not judged: 1, with 5 reviews."
    assert absent.startswith("There is no slice by stars, month, title")


def test_rejects_are_said():
    judged = make_judged([0, 1, 2] * 20, [0, 1, -1] * 20)
    [sentence] = build_sections(examine(ReportFacts("m", judged)))["metrics"].sentences
    assert sentence.endswith("20 of them were rejected and count as wrong.")


def test_a_report_claims_held_out_reviews_only_where_the_run_knows_it():
    for known, says in (
        (True, "The run that made the model did not train on them."),
        (False, "It is not known if the model"),
    ):
        sections = build_sections(examine(make_facts(are_held_out=known)))
        assert says in sections["metrics"].sentences[0]


def test_rejects_are_said_to_lower_the_recall():
    judged = make_judged([0, 1, 2] * 20, [0, 1, -1] * 20)
    section = build_sections(examine(ReportFacts("m", judged)))["labels"]
    assert section.table.rows[2] == ("sad", "0.000", "0.000", "0.000", "20")
    assert section.sentences[-1].startswith("Rejected reviews lower recall")


def test_long_lists_say_how_many_they_leave_out():
    errors = tuple(LabelError(i, f"r{i}", "calm", "sad", 0.95) for i in range(60))
    facts = make_facts(test_labels=LabelErrors(300, errors, 0.8, 0.9))
    section = build_sections(examine(facts))["test_labels"]
    assert len(section.table.rows) == 50
    assert section.sentences[-1] == "The 50 surest of 60 are listed."


def test_the_champion_is_compared_on_the_same_reviews():
    judged = make_judged([0] * 100, [0] * 90 + [1] * 10)
    other = make_judged([0] * 100, [1] * 10 + [0] * 90)
    facts = ReportFacts("m", judged, champion=Champion("models:/shop/1", other))
    sentence = build_sections(examine(facts))["champion"].sentences[1]
    assert sentence.startswith("On 100 reviews only this model is right on 10, only the champion on 10: ")
    assert "may be chance (McNemar, p = 1.000)" in sentence


def test_a_reject_adds_nothing_to_the_error_before_calibration():
    judged = make_judged([0, 1, 1, 1], [0, 1, -1, -1])
    facts = ReportFacts("model", judged, uncalibrated=judged.probabilities, calibration=Calibration())
    table = describe_calibration(examine(facts)).table
    assert table.rows[0][1:] == table.rows[1][1:]


def test_a_report_is_made_if_the_model_rejects_every_review():
    judged = make_judged([0, 1], [-1, -1])
    assert "2 of them were rejected" in render_report(examine(ReportFacts("model", judged)))
