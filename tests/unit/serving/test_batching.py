"""Texts of many callers scored together, each answered in its order, in time or not at all."""

import asyncio
import threading
import time

import numpy as np
import pytest

from sentiment.inference.minibatches import pad_rows, round_up
from sentiment.serving import batching
from sentiment.serving.batching import Load, MicroBatcher, OverloadedError


def predict(model, texts):
    return [{"label": f"{model}:{text}", "n_tokens": 5, "truncated": False} for text in texts]


class Gate:
    """A model that answers when it is let to."""

    def __init__(self):
        self.open = threading.Event()
        self.seen = []

    def __call__(self, model, texts):
        self.seen.append(list(texts))
        assert self.open.wait(10)
        return predict(model, texts)


def make(predict=predict, **options):
    settings = {"max_wait_seconds": 100.0, "n_threads": 1, "budget_tokens": 256}
    settings["row_cost"] = lambda n_tokens: -(-n_tokens // 32) * 32
    return MicroBatcher(predict, **settings | options)


class Turnstile:
    """A model that answers one mini-batch, told by its texts, each time that it is let to."""

    def __init__(self):
        self.seen = []
        self._doors = {}

    def __call__(self, model, texts):
        door = self._doors[texts[0]] = threading.Event()
        self.seen.append(list(texts))
        assert door.wait(10)
        return predict(model, texts)

    def let(self, text):
        self._doors[text].set()


def labels(answer):
    return [prediction["label"] for prediction in answer.predictions]


async def settle():
    for _ in range(5):
        await asyncio.sleep(0.01)


def test_each_caller_gets_its_own_answers_in_its_order():
    async def run():
        batcher = make(n_threads=2)
        requests = [[f"{r}-{i}" for i in range(r)] for r in range(12)]
        answers = await asyncio.gather(*(batcher.score("m", texts, 10) for texts in requests))
        await batcher.close()
        return requests, answers

    requests, answers = asyncio.run(run())
    assert [labels(answer) for answer in answers] == [[f"m:{t}" for t in texts] for texts in requests]


def test_callers_that_wait_together_are_scored_together():
    async def run():
        gate = Gate()
        batcher = make(gate)
        first = asyncio.create_task(batcher.score("m", ["first"], 10))
        await settle()
        others = [asyncio.create_task(batcher.score("m", [f"other {i}"], 10)) for i in range(4)]
        await settle()
        gate.open.set()
        await asyncio.gather(first, *others)
        await batcher.close()
        return gate.seen

    seen = asyncio.run(run())
    assert seen[0] == ["first"]
    assert sorted(seen[1]) == [f"other {i}" for i in range(4)]


def test_a_thread_takes_its_share_and_leaves_the_others_theirs():
    async def run():
        model = Turnstile()
        batcher = make(model, n_threads=2)
        first = asyncio.create_task(batcher.score("m", ["first"], 10))
        await settle()
        others = asyncio.create_task(batcher.score("m", list("abcdefg"), 10))
        await settle()
        seen = list(model.seen)
        for text in ("first", "a"):
            model.let(text)
        await settle()
        seen += model.seen[2:]
        model.let("e")
        await asyncio.gather(first, others)
        await batcher.close()
        return seen

    assert asyncio.run(run()) == [["first"], list("abcd"), list("efg")]


def test_a_free_thread_waits_a_moment_for_those_who_were_just_answered(monkeypatch):
    monkeypatch.setattr(batching, "_GATHER_SECONDS", 0.3)

    async def run():
        model = Turnstile()
        batcher = make(model, n_threads=2)
        tasks = []
        for texts in (["held"], ["a", "b"], ["c"]):
            tasks.append(asyncio.create_task(batcher.score("m", texts, 10)))
            await settle()
        model.let("a")
        await tasks[1]
        tasks.append(asyncio.create_task(batcher.score("m", ["a again"], 10)))
        await settle()
        tasks.append(asyncio.create_task(batcher.score("m", ["alone"], 10)))
        model.let("c")
        model.let("held")
        await asyncio.gather(tasks[0], tasks[2], tasks[3])
        await asyncio.sleep(0.4)
        model.let("alone")
        await tasks[4]
        await batcher.close()
        return model.seen

    assert asyncio.run(run()) == [["held"], ["a", "b"], ["c", "a again"], ["alone"]]


def test_a_whole_minibatch_gets_ready_while_the_threads_are_busy():
    async def run():
        gate = Gate()
        batcher = make(gate, budget_tokens=64)
        tasks = [asyncio.create_task(batcher.score("m", ["first"], 10))]
        await settle()
        tasks.append(asyncio.create_task(batcher.score("m", ["too few"], 10)))
        await settle()
        n_before = len(gate.seen)
        tasks.append(asyncio.create_task(batcher.score("m", ["for two", "or more"], 10)))
        await settle()
        seen = list(gate.seen)
        gate.open.set()
        await asyncio.gather(*tasks)
        await batcher.close()
        return n_before, seen

    n_before, seen = asyncio.run(run())
    assert n_before == 1
    assert seen[1:] == [["too few", "for two"]]


def test_a_request_keeps_the_model_that_it_was_admitted_with():
    async def run():
        gate = Gate()
        batcher = make(gate)
        tasks = [asyncio.create_task(batcher.score(model, ["a", "b"], 10)) for model in ("old", "new")]
        await settle()
        gate.open.set()
        answers = await asyncio.gather(*tasks)
        await batcher.close()
        return answers

    assert [labels(answer) for answer in asyncio.run(run())] == [["old:a", "old:b"], ["new:a", "new:b"]]


def test_a_newcomer_that_would_wait_too_long_is_refused_and_told_when_to_come_back():
    async def run():
        gate = Gate()
        batcher = make(gate, max_wait_seconds=0.5)
        batcher.load.tokens_per_second = 10.0
        tasks = [asyncio.create_task(batcher.score("m", ["word " * 20], 10)) for _ in range(1)]
        await settle()
        with pytest.raises(OverloadedError) as caught:
            await batcher.score("m", ["word " * 20], 10)
        patient = asyncio.create_task(batcher.score("m", ["stream"], 10, is_patient=True))
        await settle()
        gate.open.set()
        await asyncio.gather(*tasks, patient)
        await batcher.close()
        return caught.value.retry_seconds, await patient

    retry_seconds, patient = asyncio.run(run())
    assert retry_seconds > 0.5
    assert labels(patient) == ["m:stream"]


def test_a_deadline_ends_a_request_and_its_waiting_texts_are_not_scored():
    async def run():
        gate = Gate()
        batcher = make(gate)
        first = asyncio.create_task(batcher.score("m", ["first"], 10))
        await settle()
        with pytest.raises(asyncio.TimeoutError):
            await batcher.score("m", ["late"], 0.05)
        waiting = batcher.n_waiting_texts
        gate.open.set()
        await first
        await batcher.close()
        return waiting, gate.seen

    assert asyncio.run(run()) == (0, [["first"]])


def test_a_caller_that_goes_takes_its_waiting_texts_along():
    async def run():
        gate = Gate()
        batcher = make(gate)
        first = asyncio.create_task(batcher.score("m", ["first"], 10))
        await settle()
        gone = asyncio.create_task(batcher.score("m", ["gone"] * 50, 10))
        await settle()
        assert batcher.n_waiting_texts == 42
        gone.cancel()
        await settle()
        waiting = batcher.n_waiting_texts
        gate.open.set()
        await first
        await batcher.close()
        return waiting, gate.seen

    # Eight were ready to be next.
    assert asyncio.run(run()) == (0, [["first"], ["gone"] * 8])


def test_a_model_that_fails_fails_its_callers_and_the_next_is_served():
    def fail_once(model, texts):
        if "bad" in texts:
            raise ValueError("broken")
        return predict(model, texts)

    async def run():
        batcher = make(fail_once)
        with pytest.raises(ValueError, match="broken"):
            await batcher.score("m", ["bad"], 10)
        answer = await batcher.score("m", ["good"], 10)
        await batcher.close()
        return answer

    assert labels(asyncio.run(run())) == ["m:good"]


def test_nothing_to_score_is_no_work():
    async def run():
        batcher = make(Gate())
        answer = await batcher.score("m", [], 10)
        await batcher.close()
        return answer

    assert asyncio.run(run()).predictions == []


def test_a_load_learns_the_length_of_a_token_and_the_longest_text():
    load = Load()
    for _ in range(500):
        load.note_length("x" * 600, {"n_tokens": 102, "truncated": False})
    assert load.estimate_tokens("x" * 600) == pytest.approx(102, rel=0.05)
    load.note_length("x" * 10_000, {"n_tokens": 128, "truncated": True})
    assert load.estimate_tokens("x" * 10_000) == pytest.approx(128 + 10_000 / 6 / 50, abs=1)
    assert load.estimate_tokens("x" * 1_000_000) > 3_000, "what is cut off is read before"
    assert load.estimate_tokens(None) == 1


def test_a_text_costs_what_the_model_says_of_its_row():
    def pad(n_tokens):
        return int(round_up(np.array(n_tokens), 32))

    for words in (100, 382, 398, 440):
        cost = Load(chars_per_token=1, row_cost=pad).estimate_tokens("x" * words)
        assert cost == pad_rows([np.zeros(2 + words + words // 50, dtype=int)], 0, 32)[0].shape[1]


def test_the_rate_is_learned_from_the_first_work_and_then_from_the_newest():
    load = Load()
    load.note(20, 0.01)
    load.note(2_980, 0.19)
    assert load.tokens_per_second == pytest.approx(15_000), "of 0.2 s, and nothing that was supposed before"
    for _ in range(100):
        load.note(5_000, 1.0)
    assert load.tokens_per_second == pytest.approx(5_000, rel=0.01)


def test_the_event_loop_goes_on_while_the_model_works():
    def slow(model, texts):
        time.sleep(0.2)
        return predict(model, texts)

    async def run():
        batcher = make(slow)
        task = asyncio.create_task(batcher.score("m", ["a"], 10))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.005)
            ticks += 1
        await batcher.close()
        return ticks

    assert asyncio.run(run()) > 5
