"""Run jobs/score_reviews.py as a process of its own, and turn its exit code back into an error.

A cluster needs a process of its own (spark-submit knows its master), and a JVM that dies, or has too little
memory, does not take the night with it: the next try starts a new one.
"""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, GateError, InputError, ModelError, ScoringError, SentimentError
from .steps import PassingError

_ERRORS: Mapping[int, type[SentimentError]] = {
    2: ConfigError,
    3: InputError,
    4: ModelError,
    6: GateError,
}
_PREFIX = "error: "
# A job gets so long to stop its executors before it is killed.
_STOP_SECONDS = 30


def run_scoring(command: Sequence[str], summary: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the command and return the summary that it wrote; its lines on stderr go to `tell`.

    Raises the error that its exit code means, with the summary if the job wrote one: a PassingError if the
    store was in use, or if it ended in a way that another try may not.
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
        raise ScoringError(f"{summary}: the scoring job succeeded, but wrote no summary; look at its log")
    message = last or f"the scoring job ended with exit code {code}, and gave no reason; look at its log"
    if code in _ERRORS:
        raise _ERRORS[code](message, found)
    raise PassingError(message, code if code == 5 else SentimentError.exit_code)


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
