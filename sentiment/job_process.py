"""Run a job of `jobs/` as a process of its own, and turn how it ended back into a summary or an error.

A cluster needs a process of its own (spark-submit knows its master), and a JVM that dies, or has too little
memory, does not take its caller with it: the next try starts a new one.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import errors
from .cli import ERROR_TYPE

_PREFIX = "error: "
# A job gets so long to stop its executors before it is killed.
_STOP_SECONDS = 30


def run_process(command: Sequence[str], summary: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the command and return the summary that it wrote; its lines on stderr go to `tell`.

    Raises the error of the job, of its own class and with its summary, or a LostJobError if the job ended
    without one.
    """
    summary.unlink(missing_ok=True)
    last = ""
    # The tables that the job prints are for people who run it by hand; the summary has their figures.
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        for line in process.stderr or ():
            if line.startswith(_PREFIX):
                last = line.removeprefix(_PREFIX).strip()
            else:
                tell(line.rstrip())
        code = process.wait()
    finally:
        _stop(process)
    found = _load_summary(summary)
    if code == 0 and found is not None:
        return found
    if code == 0:
        raise errors.ScoringError(f"{summary}: the job succeeded, but wrote no summary; look at its log")
    raise _make_error(code, last, found)


def _make_error(code: int, message: str, summary: dict[str, Any] | None) -> errors.SentimentError:
    """Return the error of the class that the summary names; a LostJobError if the job did not end with it.

    A job whose JVM dies may still write its error down, but ends with the exit code of the JVM.
    """
    kind: type[errors.SentimentError] = errors.LostJobError
    if summary is not None:
        named = getattr(errors, summary.pop(ERROR_TYPE, ""), errors.SentimentError)
        kind = named if named.exit_code == code else kind
    elif code == errors.ConfigError.exit_code:  # wrong arguments, or no place for a summary
        kind = errors.ConfigError
    message = message or f"the job ended with exit code {code}, and gave no reason; look at its log"
    return kind(message, summary or None)


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _load_summary(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
