"""Logs as JSON lines: ids, lengths, codes, times. What others log is kept without the values in it."""

import json
import logging
import sys
import time
import traceback
from typing import Any, TextIO

LOGGER = "sentiment.serving"


def log_event(event: str, /, level: int = logging.INFO, **fields: Any) -> None:
    """Write a line. Fields are numbers, names and codes; never a text, nor a library's message."""
    logging.getLogger(LOGGER).log(level, event, extra={"fields": fields})


def describe(error: BaseException) -> dict[str, Any]:
    """Return an error without its message, which may quote data: its type, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": type(error).__name__, "place": place}


def start_logging(stream: TextIO | None = None, debug: bool = False) -> None:
    """Send all that is logged in this process, warnings included, to `stream` (stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    for name in ("mlflow", "alembic", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        if record.name == LOGGER:
            line |= {"event": record.msg, **getattr(record, "fields", {})}
        else:
            # The template of a message, not what would be put into it, which may be a review; of a message
            # that was put together already, its place must do.
            line |= {"event": "library", "logger": record.name, "place": f"{record.module}:{record.lineno}"}
            line |= {"message": str(record.msg)[:200]} if record.args else {}
        if record.exc_info and record.exc_info[1] is not None:
            line |= describe(record.exc_info[1])
        return json.dumps(line)
