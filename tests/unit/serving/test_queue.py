"""Texts of many callers scored together, each answered in its order, in time or not at all."""

import asyncio
import threading
import time

import numpy as np
import pytest

from sentiment.config import ServeConfig
from sentiment.inference.minibatches import pad_rows, round_up
from sentiment.serving import queue
from sentiment.serving.problems import Problem
from sentiment.serving.queue import Queue


class Model:
    """A model in name; rows are padded to a multiple of 32 tokens."""

    def __init__(self, name="m", budget_tokens=256):
        self.name = name
        self.budget_tokens = budget_tokens

    def row_cost(self, n_tokens):
        return int(round_up(np.array(n_tokens), 32))


M = Model()


def predict(model, texts):
    return [{"label": f"{model.name}:{text}", "n_tokens": 5, "truncated": False} for text in texts]


class Gate:
    """A model that answers when it is let to."""

    def __init__(self):
        self.open = threading.Event()
        self.seen = []

    def __call__(self, model, texts):
        self.seen.append(list(texts))
        assert self.open.wait(10)
        return predict(model, texts)


def make(predict=predict, n_threads=1, **options):
    config = ServeConfig(**{"max_wait_seconds": 100, "request_seconds": 10} | options)
    return Queue(config, n_threads, predict=predict)


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


async def wait_until(is_so):
    for _ in range(500):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within five seconds")


def test_each_caller_gets_its_own_answers_in_its_order():
    async def run():
        scorer = make(n_threads=2)
        requests = [[f"{r}-{i}" for i in range(r)] for r in range(12)]
        answers = await asyncio.gather(*(scorer.score(M, texts) for texts in requests))
        await scorer.close()
        return requests, answers

    requests, answers = asyncio.run(run())
    assert [labels(answer) for answer in answers] == [[f"m:{t}" for t in texts] for texts in requests]


def test_callers_that_wait_together_are_scored_together():
    async def run():
        gate = Gate()
        scorer = make(gate)
        first = asyncio.create_task(scorer.score(M, ["first"]))
        await settle()
        others = [asyncio.create_task(scorer.score(M, [f"other {i}"])) for i in range(4)]
        await settle()
        gate.open.set()
        await asyncio.gather(first, *others)
        await scorer.close()
        return gate.seen

    seen = asyncio.run(run())
    assert seen[0] == ["first"]
    assert sorted(seen[1]) == [f"other {i}" for i in range(4)]


def test_a_thread_takes_its_share_and_leaves_the_others_theirs():
    async def run():
        model = Turnstile()
        scorer = make(model, n_threads=2)
        first = asyncio.create_task(scorer.score(M, ["first"]))
        await settle()
        others = asyncio.create_task(scorer.score(M, list("abcdefg")))
        await settle()
        model.let("first")
        await wait_until(lambda: len(model.seen) == 3)
        seen = list(model.seen)
        for text in ("a", "e"):
            model.let(text)
        await asyncio.gather(first, others)
        await scorer.close()
        return seen

    assert asyncio.run(run()) == [["first"], list("abcd"), list("efg")]


def test_a_free_thread_waits_a_moment_for_those_who_were_just_answered(monkeypatch):
    monkeypatch.setattr(queue, "_GATHER_SECONDS", 0.3)
    held = "twice as long as the others " * 5

    async def run():
        model = Turnstile()
        scorer = make(model, n_threads=2)
        tasks = []
        for texts in ([held], ["a", "b"], ["c"]):
            tasks.append(asyncio.create_task(scorer.score(M, texts)))
            await settle()
        model.let("a")
        await tasks[1]
        tasks.append(asyncio.create_task(scorer.score(M, ["a again"])))
        await settle()
        tasks.append(asyncio.create_task(scorer.score(M, ["alone"])))
        model.let("c")
        model.let(held)
        await asyncio.gather(tasks[0], tasks[2], tasks[3])
        await asyncio.sleep(0.4)
        model.let("alone")
        await tasks[4]
        await scorer.close()
        return model.seen

    assert asyncio.run(run()) == [[held], ["a", "b"], ["c", "a again"], ["alone"]]


def test_a_request_keeps_the_model_that_it_was_admitted_with():
    async def run():
        gate = Gate()
        scorer = make(gate)
        tasks = [asyncio.create_task(scorer.score(Model(name), ["a", "b"])) for name in ("old", "new")]
        await settle()
        gate.open.set()
        answers = await asyncio.gather(*tasks)
        await scorer.close()
        return answers

    assert [labels(answer) for answer in asyncio.run(run())] == [["old:a", "old:b"], ["new:a", "new:b"]]


def test_a_newcomer_that_would_wait_too_long_is_refused_and_told_when_to_come_back():
    async def run():
        gate = Gate()
        scorer = make(gate, max_wait_seconds=0.5)
        scorer._done_tokens, scorer._done_seconds = 10.0, 1.0
        first = asyncio.create_task(scorer.score(M, ["word " * 20]))
        await settle()
        with pytest.raises(Problem) as caught:
            await scorer.score(M, ["word " * 20])
        patient = asyncio.create_task(scorer.score(M, ["stream"], is_patient=True))
        await settle()
        gate.open.set()
        await asyncio.gather(first, patient)
        await scorer.close()
        return caught.value, await patient

    problem, patient = asyncio.run(run())
    assert (problem.code, problem.headers["retry-after"]) == ("overloaded", "2")
    assert labels(patient) == ["m:stream"]


def test_a_deadline_ends_a_request_and_its_waiting_texts_are_not_scored():
    async def run():
        gate = Gate()
        scorer = make(gate, request_seconds=0.2)
        first = asyncio.create_task(scorer.score(M, ["first"]))
        await settle()
        with pytest.raises(Problem) as caught:
            await scorer.score(M, ["late"])
        waiting = scorer.waiting.n_texts
        gate.open.set()
        await asyncio.gather(first, return_exceptions=True)
        await scorer.close()
        return caught.value.code, waiting, gate.seen

    assert asyncio.run(run()) == ("deadline", 0, [["first"]])


def test_a_caller_that_goes_takes_its_waiting_texts_along():
    async def run():
        gate = Gate()
        scorer = make(gate)
        first = asyncio.create_task(scorer.score(M, ["first"]))
        await settle()
        gone = asyncio.create_task(scorer.score(M, ["gone"] * 50))
        await settle()
        assert scorer.waiting.n_texts == 50
        gone.cancel()
        await settle()
        waiting = scorer.waiting.n_texts
        gate.open.set()
        await first
        await scorer.close()
        return waiting, gate.seen

    assert asyncio.run(run()) == (0, [["first"]])


def test_a_model_that_fails_fails_its_callers_and_the_next_is_served():
    def fail_once(model, texts):
        if "bad" in texts:
            raise ValueError("broken")
        return predict(model, texts)

    async def run():
        scorer = make(fail_once)
        with pytest.raises(ValueError, match="broken"):
            await scorer.score(M, ["bad"])
        answer = await scorer.score(M, ["good"])
        await scorer.close()
        return answer

    assert labels(asyncio.run(run())) == ["m:good"]


def test_nothing_to_score_is_no_work():
    async def run():
        scorer = make(Gate())
        answer = await scorer.score(M, [])
        await scorer.close()
        return answer

    assert asyncio.run(run()).predictions == []


def test_a_long_text_costs_what_the_model_reads_of_it_and_its_tokenisation():
    def cut_off(model, texts):
        return [{"label": "x", "n_tokens": 128, "truncated": True} for _ in texts]

    async def run():
        scorer = make(cut_off)
        before = scorer.estimate_tokens(M, "x" * 4_000)
        await scorer.score(M, ["x" * 4_000])
        await scorer.close()
        return before, scorer.estimate_tokens(M, "x" * 4_000), scorer.estimate_tokens(M, "x" * 1_000_000)

    before, after, huge = asyncio.run(run())
    assert (before, after) == (576, 160)
    assert huge > 5_000, "what is cut off is read before"


def test_a_value_costs_a_padded_row():
    scorer = make()
    assert scorer.estimate_tokens(M, None) == 32
    for n_chars in (100, 1_500, 1_800):
        n_tokens = 2 + n_chars // 4
        width = pad_rows([np.zeros(n_tokens + n_tokens // 50, dtype=int)], 0, 32)[0].shape[1]
        assert scorer.estimate_tokens(M, "x" * n_chars) == width


def test_the_speed_is_that_of_the_first_work_and_then_of_the_newest():
    scorer = make()

    def run_for(n_tokens, seconds):
        scorer._note_speed(n_tokens, scorer._busy_since + seconds)
        return scorer._done_tokens / scorer._done_seconds

    run_for(20, 0.01)
    assert run_for(2_980, 0.19) == pytest.approx(15_000, rel=0.05), "and not of the guess before it"
    for _ in range(100):
        found = run_for(5_000, 1.0)
    assert found == pytest.approx(5_000, rel=0.01)


def test_the_event_loop_goes_on_while_the_model_works():
    def slow(model, texts):
        time.sleep(0.2)
        return predict(model, texts)

    async def run():
        scorer = make(slow)
        task = asyncio.create_task(scorer.score(M, ["a"]))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.005)
            ticks += 1
        await scorer.close()
        return ticks

    assert asyncio.run(run()) > 5
