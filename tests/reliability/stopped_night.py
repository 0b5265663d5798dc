"""Run jobs/nightly.py, and kill it at a step: `stopped_night.py STEP:before|after ARGUMENT...`."""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentiment.monitoring.steps import Steps

HOME = Path(__file__).resolve().parents[2]


def stop_at(step: str, place: str) -> None:
    """Make this process kill itself before or after the step with this name."""
    run = Steps.run

    def stopped(self: Steps, name: str, work: Callable[[], Any]) -> Any:
        if (name, place) == (step, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = run(self, name, work)
        if (name, place) == (step, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Steps.run = stopped  # type: ignore[assignment]


if __name__ == "__main__":
    stop_at(*sys.argv.pop(1).split(":"))
    sys.argv[0] = str(HOME / "jobs" / "nightly.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
