"""Who is scored next, and with whom."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from sentiment.serving.queue import MIN_FILL, FairQueue

MODEL = SimpleNamespace(budget_tokens=100_000)


def fill(queue, owner, lengths, model=MODEL):
    call = SimpleNamespace(owner=owner, model=model)
    queue.push(call, lengths)
    return call


def take_all(queue, budget_tokens=512):
    taken = []
    while queue.n_texts:
        taken.append([(item.call.owner, item.position) for item in queue.take(budget_tokens)])
    return taken


def test_a_short_request_waits_for_one_share_of_a_long_list_and_not_for_all_of_it():
    queue = FairQueue()
    fill(queue, "list", [100] * 1_000)
    queue.take(100)
    queue.take(100)
    fill(queue, "short", [100])
    taken = [queue.take(100)[0].call.owner for _ in range(3)]
    assert "short" in taken[:2]


def test_two_lists_take_turns():
    queue = FairQueue()
    fill(queue, "a", [100] * 50)
    fill(queue, "b", [100] * 50)
    owners = [owner for group in take_all(queue, 100) for owner, _ in group]
    assert 20 <= owners[:50].count("a") <= 30


def test_texts_of_like_length_share_a_minibatch():
    queue = FairQueue()
    for name, length in (("a", 100), ("b", 20), ("c", 95), ("d", 22), ("e", 400)):
        fill(queue, name, [length])
    assert take_all(queue) == [[("a", 0), ("c", 0)], [("b", 0), ("d", 0)], [("e", 0)]]


def test_an_odd_length_is_not_passed_over_for_ever():
    queue = FairQueue()
    fill(queue, "long", [500])
    for number in range(100):
        fill(queue, f"short {number}", [10])
    assert take_all(queue)[0] == [("long", 0)]


def test_models_do_not_share_a_minibatch():
    queue = FairQueue()
    fill(queue, "old", [10, 10], SimpleNamespace(budget_tokens=512))
    fill(queue, "new", [10, 10], SimpleNamespace(budget_tokens=512))
    assert take_all(queue) == [[("old", 0), ("old", 1)], [("new", 0), ("new", 1)]]


def test_what_is_dropped_is_not_taken_and_does_not_count():
    queue = FairQueue()
    gone = fill(queue, "gone", [10] * 5)
    fill(queue, "here", [10])
    queue.drop(gone)
    queue.drop(gone)
    assert (queue.n_texts, queue.n_tokens) == (1, 10)
    assert take_all(queue) == [[("here", 0)]]


def test_a_newcomer_has_ahead_of_it_a_share_of_each_other_request():
    queue = FairQueue()
    fill(queue, "list", [100] * 1_000)
    fill(queue, "short", [30])
    assert queue.count_ahead([100]) == 100 + 30
    assert queue.count_ahead([10] * 11) == 200 + 30


def test_a_long_text_that_came_before_is_ahead_of_a_short_one_whole():
    queue = FairQueue()
    for number in range(20):
        fill(queue, number, [512])
    assert queue.count_ahead([10]) == 20 * 512


@given(
    st.lists(st.lists(st.integers(1, 600), min_size=1, max_size=5), max_size=10),
    st.integers(0, 10),
    st.lists(st.integers(1, 600), min_size=1, max_size=5),
)
def test_what_is_counted_ahead_is_what_is_taken_before(requests, n_taken, newcomer):
    queue = FairQueue()
    for number, lengths in enumerate(requests):
        fill(queue, number, lengths)
    for _ in range(min(n_taken, queue.n_texts)):
        queue.take(1)
    ahead = queue.count_ahead(newcomer)
    fill(queue, "newcomer", newcomer)
    taken = []
    while (items := queue.take(1)) and (items[0].call.owner, items[0].position) != (
        "newcomer",
        len(newcomer) - 1,
    ):
        taken += items
    assert ahead == sum(item.n_tokens for item in taken if item.call.owner != "newcomer")


@given(
    st.lists(st.lists(st.integers(1, 600), min_size=1, max_size=20), max_size=10),
    st.integers(16, 1024),
)
def test_each_text_is_taken_once_within_the_budget(requests, budget_tokens):
    queue = FairQueue()
    for number, lengths in enumerate(requests):
        fill(queue, number, lengths)
    taken = []
    while queue.n_texts:
        items = queue.take(budget_tokens)
        widths = [item.n_tokens for item in items]
        assert len(items) == 1 or max(widths) * len(items) <= budget_tokens
        assert min(widths) >= MIN_FILL * max(widths)
        taken += [(item.call.owner, item.position) for item in items]
    assert sorted(taken) == [(n, i) for n, lengths in enumerate(requests) for i in range(len(lengths))]
    assert (queue.n_texts, queue.n_tokens) == (0, 0)


def test_the_budget_is_that_of_the_model_if_the_share_is_larger():
    queue = FairQueue()
    fill(queue, "a", [10] * 8, SimpleNamespace(budget_tokens=40))
    assert [len(group) for group in take_all(queue)] == [4, 4]
