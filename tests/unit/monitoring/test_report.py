"""The report of a night is one file that needs nothing else, and says what to do."""

import datetime
import re

import pytest

from sentiment.monitoring import history
from sentiment.monitoring.report import render_report
from tests.unit.monitoring.made import make_rows
from tests.unit.monitoring.nights import FIRST, World, make_labels

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("report"), labels=make_labels(make_rows(n=300, seed=0)))
    for number in range(3):
        world.arrive(FIRST + number * DAY, n=300, seed=number, **({"chars": 90.0} if number else {}))
        if number == 2:
            world.pending[0][2].loc[:29, ["reject_reason", "label", "score"]] = ["null_text", None, None]
        world.run(FIRST + number * DAY)
    return world


def render(world, night):
    folder = world.folder / "monitoring"
    return (folder / "reports" / f"{night}.html").read_text()


def test_it_has_each_section_and_no_reference_to_the_net(world):
    html = render(world, FIRST + 2 * DAY)
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == [
        *("What to do next", "Data", "Labels", "Accuracy", "Drift", "Rejects", "Slowest steps", "Missing")
    ]
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert html.count("<svg") == 4


def test_alerts_rejects_and_drift_are_in_it(world):
    html = render(world, FIRST + 2 * DAY)
    assert "10.0% of the rows are rejects" in html
    assert "the text is null" in html
    drifted = re.findall(r"<td>n_tokens</td><td>model</td><td>(.*?)</td>", html)
    assert drifted == ["alarm"]
    assert "drift against earlier nights" in html


def test_estimated_and_realised_accuracy_are_in_one_picture(world):
    html = render(world, FIRST)
    assert re.search(r"estimated, 95 % interval</text>.*realised</text>", html, re.S)


def test_a_night_without_anything_says_so(tmp_path):
    world = World(tmp_path)
    world.run(FIRST)
    html = render(world, FIRST)
    assert "Nothing was pending: no row was scored." in html
    assert "<p>Nothing.</p>" in html


def test_a_problem_that_lasts_needs_attention_every_night_also_if_nothing_was_pending(tmp_path):
    world = World(tmp_path)
    world.bad_files = [{"path": "/in/a", "reason": "/in/a: is empty"}]
    world.run(FIRST)
    html = world.run(FIRST + datetime.timedelta(days=1)).report.read_text()
    assert "1 alert needs attention" in html
    assert "Nothing" not in html.partition("1 alert needs")[2].partition("lasts")[0]


def test_rows_of_later_nights_are_not_in_it(world):
    folder = world.folder / "monitoring"
    html = render_report(FIRST, history.load_nights(folder), history.load_figures(folder), [])
    assert f"{FIRST + 2 * DAY}" not in html
