import math
from dataclasses import replace

import numpy as np
import pytest

from sentiment.config import GatesConfig, load_config
from sentiment.errors import ConfigError
from sentiment.evaluation.comparison import SliceComparison, compare_slices, measure_latency_ratio
from sentiment.evaluation.gates import EngineFacts, Figures, apply_gates, find_failed, judge_labels
from sentiment.evaluation.intervals import compare_hits
from sentiment.evaluation.metrics import measure
from tests.factories import ROOT, make_judged

LABELS = ("one", "two", "three")


def judge_hits(is_right, **details):
    """Judged reviews of three classes, of which the model gets these right."""
    truth = [i % 3 for i in range(len(is_right))]
    predicted = [k if hit else (k + 1) % 3 for k, hit in zip(truth, is_right, strict=True)]
    return make_judged(
        truth, [[0.9 if i == k else 0.05 for i in range(3)] for k in predicted], LABELS, **details
    )


BOUNDS = load_config(GatesConfig, ROOT / "conf" / "gates.yaml", {})
CHAMPION = np.arange(1_200) % 10 > 0
SLICE = SliceComparison("category", "books", 400, 0.01, False)
GOOD = Figures(
    evaluation=measure(judge_hits(CHAMPION)),
    unsure_share=0.02,
    engine=EngineFacts("int8", "avx2"),
    size_bytes=100_000_000,
    is_verified=True,
    comparison=compare_hits(CHAMPION, CHAMPION),
    slices=(SLICE,),
    latency_ratio=1.0,
)


def judge_one(name, figures, bounds=BOUNDS):
    [found] = [result for result in apply_gates(figures, bounds) if result.name == name]
    return found


def make_evaluation(**figures):
    return replace(GOOD.evaluation, **figures)


def test_a_good_challenger_passes_every_gate():
    assert [result.is_passed for result in apply_gates(GOOD, BOUNDS)] == [True] * 11


@pytest.mark.parametrize(
    ("name", "figures", "says"),
    [
        ("rows", {"evaluation": make_evaluation(rows=499)}, "499, at least 500"),
        ("accuracy", {"evaluation": make_evaluation(accuracy=0.8499)}, "0.8499, at least 0.85"),
        ("f1_macro", {"evaluation": make_evaluation(f1_macro=0.5)}, "0.5, at least 0.83"),
        ("ece", {"evaluation": make_evaluation(ece=0.051)}, "0.051, at most 0.05"),
        ("unsure_share", {"unsure_share": 0.11}, "0.11, at most 0.1"),
        ("mcnemar", {"comparison": compare_hits(CHAMPION, np.arange(1_200) % 8 > 0)}, "at least 0.05"),
        ("slices", {"slices": (replace(SLICE, drop=0.2, is_sure=True),)}, "0.200 lost in category books"),
        ("engine", {"engine": EngineFacts("reference", "avx2")}, "reference, since no faster engine"),
        ("size_bytes", {"size_bytes": 2_000_000_000}, "2,000,000,000, at most 1,500,000,000"),
        ("latency_ratio", {"latency_ratio": 2.0}, "2, at most 1.5"),
    ],
)
def test_one_bad_figure_fails_its_gate_only(name, figures, says):
    failed = find_failed(apply_gates(replace(GOOD, **figures), BOUNDS))
    assert [result.name for result in failed] == [name]
    assert says in failed[0].sentence


def test_a_figure_at_its_bound_passes_and_nan_does_not():
    assert judge_one("accuracy", replace(GOOD, evaluation=make_evaluation(accuracy=0.85))).is_passed
    assert judge_one("ece", replace(GOOD, evaluation=make_evaluation(ece=math.nan))).is_failed


def test_a_better_challenger_is_not_refused_for_being_significantly_different():
    found = judge_one("mcnemar", replace(GOOD, comparison=compare_hits(CHAMPION, np.ones(1_200, dtype=bool))))
    assert found.figure < 0.05
    assert found.is_passed


def test_a_drop_in_a_slice_that_may_be_chance_passes_and_says_so():
    found = judge_one("slices", replace(GOOD, slices=(replace(SLICE, drop=0.06),)))
    assert found.is_passed
    assert "may be chance" in found.sentence


def test_the_worst_of_several_slices_is_named_and_the_others_are_counted():
    slices = (replace(SLICE, drop=0.1, is_sure=True), replace(SLICE, value="toys", drop=0.3, is_sure=True))
    assert (
        "0.300 lost in category toys (400 reviews), and 1 more"
        in judge_one("slices", replace(GOOD, slices=slices)).sentence
    )


def test_without_a_champion_only_the_absolute_gates_are_judged():
    figures = replace(GOOD, comparison=None, slices=None, latency_ratio=None)
    open_gates = {r.name: r.sentence for r in apply_gates(figures, BOUNDS) if r.is_passed is None}
    assert set(open_gates) == {"mcnemar", "slices", "latency_ratio"}
    assert set(open_gates.values()) == {"not judged: there is no champion to compare with"}


@pytest.mark.parametrize(
    ("name", "figures", "says"),
    [
        ("unsure_share", {"unsure_share": None}, "no min_score"),
        ("slices", {"slices": ()}, "no slice has 100 reviews"),
        ("engine", {"engine": EngineFacts(None, None)}, "does not state"),
        ("files", {"is_verified": False}, "no record"),
    ],
)
def test_what_cannot_be_judged_is_neither_passed_nor_failed(name, figures, says):
    found = judge_one(name, replace(GOOD, **figures))
    assert found.is_passed is None
    assert says in found.sentence


def test_without_its_bound_a_gate_is_not_judged():
    results = apply_gates(GOOD, GatesConfig())
    assert {result.is_passed for result in results if result.name != "files"} == {None}


@pytest.mark.parametrize(
    ("champion", "is_passed"), [(LABELS, True), (LABELS[::-1], True), (("one", "two"), False), (None, None)]
)
def test_both_models_need_the_same_labels_in_any_order(champion, is_passed):
    assert judge_labels(LABELS, champion).is_passed is is_passed


def test_a_refusal_for_labels_names_both_sets():
    assert judge_labels(LABELS, ("no", "yes")).sentence == "[one, two, three], the champion has [no, yes]"


def test_an_unknown_gate_is_an_error(tmp_path):
    (tmp_path / "gates.yaml").write_text("min_acuracy: 0.9\n")
    with pytest.raises(ConfigError, match="unknown key 'min_acuracy'.*min_accuracy"):
        load_config(GatesConfig, tmp_path / "gates.yaml", {})


def test_each_gate_of_the_file_has_a_reason_above_it():
    lines = (ROOT / "conf" / "gates.yaml").read_text().splitlines()
    keys = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    assert [lines[i] for i in keys if not lines[i - 1].startswith("#")] == []


def test_slices_of_both_models_are_the_same_reviews():
    category = ["books" if i % 4 else "toys" for i in range(1_200)]
    champion = judge_hits(CHAMPION, category=category)
    challenger = judge_hits(CHAMPION & (np.arange(1_200) % 12 > 0), category=category)
    found = {part.value: part for part in compare_slices(champion, challenger, 100)}
    assert found["books"].drop == 0
    assert found["toys"].rows == 300
    assert found["toys"].drop == pytest.approx(80 / 300)
    assert found["toys"].is_sure
    assert compare_slices(champion, challenger, 901) == ()


def test_the_latency_ratio_is_the_median_of_rounds_in_turned_order():
    now, order = [0.0], []

    def run(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds[len(order) % len(seconds)]

        return call

    ratio = measure_latency_ratio(run("old", [1.0]), run("new", [2.0]), 5, lambda: now[0])
    assert ratio == 2.0
    assert order[:4] == ["new", "old", "old", "new"]
