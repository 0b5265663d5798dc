"""Engines leave a process able to handle signals; one that could not ended at SIGTERM without its handler."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sentiment.inference.signal_stack import _DISABLED, _Stack, keeping_signal_stack
from sentiment.training.export import export_graph
from tests.factories import make_tiny_encoder, read_signal_stack

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="NOT RUN: OpenVINO changes the stack of signal handlers on Linux only"
)

RELEASES = {
    "in the order of loading": "engines.pop(0); engines.pop()",
    "by another thread": "thread = threading.Thread(target=engines.clear); thread.start(); thread.join()",
}
RELEASED = """
import signal, sys, threading
from pathlib import Path
from sentiment.inference.engines.openvino import GraphEngine
engines = [GraphEngine(Path(sys.argv[1]), "f32") for _ in range(2)]
{release}
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""
EXPORTED = """
import signal, sys
from pathlib import Path
from sentiment.inference.tokenization import Tokenizer
from sentiment.training.export import export_static_graph
folder, found = Path(sys.argv[1]), []
rows = Tokenizer(folder).encode(["good phone", "awful battery"] * 8).ids
signal.signal(signal.SIGALRM, lambda *_: found.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
export_static_graph(folder, rows)
export_static_graph(folder, rows)
signal.raise_signal(signal.SIGALRM)
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(found) > 1
print("handled")
"""


def run(script, *arguments):
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_tiny_encoder(tmp_path_factory.mktemp("encoder"), max_length=32)
    export_graph(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_a_signal_after_engines_are_released_runs_its_handler(folder, release):
    done = run(RELEASED.format(release=RELEASES[release]), folder)
    assert (done.stdout, done.returncode) == ("handled\n", 0), done.stderr


@pytest.mark.slow
def test_signals_run_their_handler_while_a_graph_is_made_and_after_it(folder):
    done = run(EXPORTED, folder)
    assert (done.stdout, done.returncode) == ("handled\n", 0), done.stderr


@pytest.fixture
def set_stack():
    """Return a function that gives this thread another signal stack until the test ends."""
    libc, memory = ctypes.CDLL(None), ctypes.create_string_buffer(1 << 16)
    before, other = _Stack(), _Stack(ctypes.addressof(memory), 0, len(memory))
    assert libc.sigaltstack(None, ctypes.byref(before)) == 0
    yield lambda: libc.sigaltstack(ctypes.byref(other), None)
    assert libc.sigaltstack(ctypes.byref(before), None) == 0


def test_the_stack_is_given_back_also_after_an_error(set_stack):
    before = read_signal_stack()

    @keeping_signal_stack()
    def fail():
        assert set_stack() == 0
        assert read_signal_stack() != before
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert read_signal_stack() == before


def test_a_stack_that_linux_takes_no_more_is_not_used(set_stack, monkeypatch):
    """Once a process may use AMX, a stack without room for its registers is refused."""
    libc, refused = ctypes.CDLL(None), []

    def refuse(new, old):
        if new is None or refused:
            return libc.sigaltstack(new, old)
        refused.append(new)
        return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(sigaltstack=refuse))
    with keeping_signal_stack():
        set_stack()
    assert len(refused) == 1
    assert read_signal_stack()[1] == _DISABLED
