"""Log JSON lines of ids, lengths, codes and times. Records of libraries are kept without their values."""

import json
import logging
import sys
import time
import traceback
from typing import Any, TextIO

LOGGER = "sentiment.serving"


def log_event(event: str, /, level: int = logging.INFO, **fields: Any) -> None:
    """Log one line. Fields are numbers, names and codes, never a text or the message of a library."""
    logging.getLogger(LOGGER).log(level, event, extra={"fields": fields})


def describe(error: BaseException) -> dict[str, Any]:
    """Return the type of an error and the line that raised it; its message may quote data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": type(error).__name__, "place": place}


def start_logging(stream: TextIO | None = None, debug: bool = False) -> None:
    """Write all log records of this process, with its warnings, to `stream` (stderr) as JSON lines."""
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
            # The arguments of a message may hold a review, so only its template is logged; a message that was
            # formatted before is represented by its place.
            line |= {"event": "library", "logger": record.name, "place": f"{record.module}:{record.lineno}"}
            line |= {"message": str(record.msg)[:200]} if record.args else {}
        if record.exc_info and record.exc_info[1] is not None:
            line |= describe(record.exc_info[1])
        return json.dumps(line)
