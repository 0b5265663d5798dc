"""Schemathesis against the service's own description of itself, all phases, all checks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import ROOT
from tests.servers import Server

pytestmark = [
    pytest.mark.abuse,
    pytest.mark.promise("R1", "OpenAPI fuzzing, all phases and checks"),
]

EXAMPLES, QUICK_EXAMPLES = 500, 3
N_OPERATIONS = 9
_PHASES = ("examples", "coverage", "fuzzing", "stateful")
_HOOKS = "tests.abuse.bodies"
_TOOL = Path(sys.executable).with_name("schemathesis")


@pytest.mark.parametrize(
    "n_examples",
    [pytest.param(QUICK_EXAMPLES, marks=pytest.mark.quick), EXAMPLES],
    ids="{} examples per operation".format,
)
def test_schemathesis_finds_no_failure(n_examples: int, server: Server, tmp_path: Path, note) -> None:
    report = tmp_path / "events.ndjson"
    ended = subprocess.run(
        _make_command(server, n_examples, report),
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": _HOOKS, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, f"{ended.stdout[-12_000:]}\n{ended.stderr[-2_000:]}"
    note(f"{_check_whole(report):,} requests with {n_examples} examples per operation")
    assert server.is_alive
    assert not server.list_events("failed"), server.list_events("failed")[:3]


def _make_command(server: Server, n_examples: int, report: Path) -> list[str]:
    headers = [part for name, value in server.headers.items() for part in ("--header", f"{name}: {value}")]
    return [
        *(str(_TOOL), "run", f"{server.url}/openapi.json", *headers),
        *("--phases", ",".join(_PHASES), "--checks", "all", "--mode", "all"),
        *("--max-examples", str(n_examples), "--continue-on-failure", "--no-color"),
        *("--generation-database", "none", "--request-timeout", "20"),
        *("--report", "ndjson", "--report-ndjson-path", str(report)),
    ]


def _check_whole(report: Path) -> int:
    """Check that nothing was left out, which an exit code of 0 may also mean; return the requests made."""
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
    assert n_cases >= N_OPERATIONS, n_cases
    return n_cases
