"""R1: schemathesis against the service's own description of itself, all phases, all checks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT
from tests.matrix import Case
from tests.servers import Server

from .cells import LIMITS, World

EXAMPLES, QUICK_EXAMPLES = 500, 5
N_OPERATIONS = 8
_PHASES = ("examples", "coverage", "fuzzing", "stateful")
_HOOKS = "tests.abuse.bodies"
_TOOL = Path(sys.executable).with_name("schemathesis")


def list_cases() -> list[Case]:
    """R1: a short run, which is one of all tests, and the whole one."""
    return [
        Case(f"schemathesis finds no failure with {n} examples an operation", _make_check(n), n < EXAMPLES)
        for n in (QUICK_EXAMPLES, EXAMPLES)
    ]


def _make_check(n_examples: int) -> Callable[[World, Path], None]:
    def check(world: World, folder: Path) -> None:
        server = world.serve(**LIMITS)
        report = folder / "events.ndjson"
        ended = subprocess.run(
            _make_command(server, n_examples, report),
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": _HOOKS, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, f"{ended.stdout[-12_000:]}\n{ended.stderr[-2_000:]}"
        _check_whole(report)
        assert server.is_alive
        assert not server.list_events("failed"), server.list_events("failed")[:3]

    return check


def _make_command(server: Server, n_examples: int, report: Path) -> list[str]:
    headers = [part for name, value in server.headers.items() for part in ("--header", f"{name}: {value}")]
    return [
        *(str(_TOOL), "run", f"{server.url}/openapi.json", *headers),
        *("--phases", ",".join(_PHASES), "--checks", "all", "--mode", "all"),
        *("--max-examples", str(n_examples), "--continue-on-failure", "--no-color"),
        *("--generation-database", "none", "--request-timeout", "20"),
        *("--report", "ndjson", "--report-ndjson-path", str(report)),
    ]


def _check_whole(report: Path) -> None:
    """It did what was asked: an exit code of 0 may also mean that there was little to do."""
    events = [json.loads(line) for line in report.read_text().splitlines()]
    finished = [event["PhaseFinished"] for event in events if "PhaseFinished" in event]
    statuses = {phase["phase"]["name"]: phase["status"] for phase in finished}
    # No answer of the service leads to another request, so there is nothing to be stateful about.
    assert [statuses.get(name) for name in _PHASES] == [*["success"] * 3, "skip"], statuses
    [loaded] = [event["LoadingFinished"] for event in events if "LoadingFinished" in event]
    operations = loaded["statistic"]["operations"]
    assert operations["selected"] == operations["total"] == N_OPERATIONS, operations
    ended = [event["ScenarioFinished"] for event in events if "ScenarioFinished" in event]
    n_cases = sum(len(scenario.get("recorder", {}).get("cases", ())) for scenario in ended)
    print(f"  {n_cases:,} requests", flush=True)
    assert n_cases >= N_OPERATIONS, n_cases
