import yaml

from sentiment.evaluation.card import render_card, write_card
from sentiment.evaluation.facts import ReportFacts, examine
from tests.factories import CANARY

from .rows import make_random
from .test_report import STARS, make_facts, make_full_facts


def read_front_matter(card):
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_the_front_matter_is_that_of_the_hub(tmp_path):
    path = write_card(examine(make_full_facts()), tmp_path)
    assert path == tmp_path / "README.md"
    front = read_front_matter(path.read_text("utf-8"))
    assert front["license"] == "apache-2.0"
    assert front["base_model"] == "minilm"
    assert front["pipeline_tag"] == "text-classification"
    assert front["metrics"] == ["accuracy", "f1", "roc_auc"]
    assert "language" not in front
    [result] = front["model-index"][0]["results"]
    assert result["task"] == {"type": "text-classification"}
    assert [metric["type"] for metric in result["metrics"]] == front["metrics"]
    assert all(0 <= metric["value"] <= 1 for metric in result["metrics"])


def test_what_is_not_known_is_left_out():
    front = read_front_matter(render_card(examine(ReportFacts("m", make_random(100)))))
    assert {"license", "base_model", "language"} & set(front) == set()


def test_a_licence_that_the_hub_does_not_list_has_a_name():
    facts = make_facts(licence="Shop-Internal")
    front = read_front_matter(render_card(examine(facts)))
    assert (front["license"], front["license_name"]) == ("other", "shop-internal")
    assert "Shop-Internal, as the encoder." in render_card(examine(facts))


def test_an_unknown_licence_is_said():
    card = render_card(examine(make_facts(licence="unknown")))
    assert "license" not in read_front_matter(card)
    assert "The licence of the encoder is not known." in card


def test_ordinal_labels_have_an_absolute_error():
    facts = ReportFacts("m", make_random(100, STARS))
    assert "mae" in read_front_matter(render_card(examine(facts)))["metrics"]


def test_the_card_has_data_recipe_and_limits():
    card = render_card(examine(make_full_facts()))
    assert "| training reviews | 2,400 |" in card
    assert "| learning rate | 2e-05 |" in card
    assert "- It reads at most 128 tokens of a review." in card
    assert "- 1 of 300 test labels are doubtful." in card
    assert "Compared with models:/shop/2: On 300 reviews" in card


def test_values_are_no_markup():
    card = render_card(examine(make_facts(data={"file": "a|b<script>_x_"})))
    assert r"| file | a\|b\<script\>\_x\_ |" in card
    assert "<b>" not in card


def test_no_review_text_is_in_the_card():
    assert CANARY not in render_card(examine(make_full_facts()))
