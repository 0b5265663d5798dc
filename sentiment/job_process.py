"""Run a job of `jobs/` as a process of its own, and turn how it ended back into a summary or an error.

A cluster needs a process of its own (spark-submit knows its master), and a JVM that dies, or has too little
memory, does not take its caller with it. A detached job goes on if its caller ends.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import errors
from .cli import ERROR_TYPE

_PREFIX = "error: "
_ASK_SECONDS = 0.2
# A job gets so long to stop its executors before it is killed.
_STOP_SECONDS = 30


@dataclass(frozen=True)
class JobProcess:
    """Hold a job that runs or has ended; its stderr is in `log`, its results are in `summary`."""

    process: "subprocess.Popen[bytes]"
    log: Path
    summary: Path

    def follow(self) -> Iterator[str]:
        """Yield each line that the job wrote on stderr, except its error, until it has ended."""
        with self.log.open(encoding="utf-8", errors="replace") as file:
            line = ""
            while True:
                # Asked first: what a job that has ended wrote is in the file.
                has_ended = self.process.poll() is not None
                while part := file.readline():
                    line += part
                    if part.endswith("\n") or has_ended:
                        if not line.startswith(_PREFIX):
                            yield line.rstrip()
                        line = ""
                if has_ended:
                    return
                time.sleep(_ASK_SECONDS)

    def finish(self) -> dict[str, Any]:
        """Wait for the job, and return its summary.

        Raises the error of the job, of its own class and with its summary, or a LostJobError if the job ended
        without one.
        """
        code = self.process.wait()
        found: dict[str, Any] | None = None
        if self.summary.exists():
            found = json.loads(self.summary.read_text(encoding="utf-8"))
        if code != 0:
            raise self._make_error(code, found)
        if found is None:
            raise errors.ScoringError(f"{self.summary}: the job wrote no summary; look at its log")
        return found

    def stop(self) -> None:
        """End the job if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _make_error(self, code: int, summary: dict[str, Any] | None) -> errors.SentimentError:
        """Return the error that the summary names; a LostJobError if the job did not end with that one.

        A job whose JVM dies may still write its error down, but ends with the exit code of the JVM.
        """
        kind: type[errors.SentimentError] = errors.LostJobError
        if summary is not None:
            named = getattr(errors, summary.pop(ERROR_TYPE, ""), errors.SentimentError)
            kind = named if named.exit_code == code else kind
        elif code == errors.ConfigError.exit_code:  # wrong arguments, or no place for a summary
            kind = errors.ConfigError
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.removeprefix(_PREFIX).strip() for line in lines if line.startswith(_PREFIX)]
        message = f"the job ended with exit code {code}, and gave no reason; look at its log"
        return kind(said[-1] if said else message, summary or None)


def start_job(
    command: Sequence[str], folder: Path, cwd: Path | None = None, is_detached: bool = False
) -> JobProcess:
    """Start a job whose log and summary are in `folder`; a detached one gets no signals of its caller."""
    log, summary = folder / "job.log", folder / "summary.json"
    summary.unlink(missing_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, f"--summary={summary}"],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            # The tables that a job prints are for people who run it by hand; the summary has their figures.
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=is_detached,
        )
    return JobProcess(process, log, summary)


def run_job_process(command: Sequence[str], folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run a job to its end, and return its summary; its lines on stderr go to `tell`. Raises its error."""
    job = start_job(command, folder)
    try:
        for line in job.follow():
            tell(line)
        return job.finish()
    finally:
        job.stop()
