"""What a log line holds, and what it never does."""

import io
import json
import logging
import warnings

import pytest

from sentiment.serving.logs import describe, log_event, start_logging

CANARY = "zebra quince canary"


@pytest.fixture
def lines():
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    start_logging(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_a_line_of_its_fields(lines):
    log_event("request", code=200, texts=3)
    (line,) = lines()
    assert {name: line[name] for name in ("level", "event", "code", "texts")} == {
        **{"level": "info", "event": "request", "code": 200, "texts": 3},
    }
    assert line["time"].endswith("Z")


def test_what_libraries_log_is_told_without_their_values(lines):
    logging.getLogger("somebody").warning("cannot read %s", CANARY)
    logging.getLogger("uvicorn.error").error("failed on %r", {"text": CANARY})
    logging.getLogger("somebody").error(f"put together: {CANARY}")
    logging.getLogger("somebody").info("not asked for")
    assert [line.get("message") for line in lines()] == ["cannot read %s", "failed on %r", None]
    assert lines()[2]["place"].startswith("test_logs:")
    assert CANARY not in json.dumps(lines())


def test_an_exception_is_its_type_and_its_place(lines):
    with pytest.raises(ValueError, match=CANARY) as caught:
        raise ValueError(CANARY)
    assert describe(caught.value)["error"] == "ValueError"
    logging.getLogger("somebody").error("failed", exc_info=caught.value)
    (line,) = lines()
    assert line["error"] == "ValueError"
    assert "test_logs.py" in line["place"]
    assert CANARY not in json.dumps(line)


def test_a_warning_is_told_without_its_words(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(CANARY, UserWarning, stacklevel=1)
    assert CANARY not in json.dumps(lines())
    assert len(lines()) == 1
