"""Compare the speed of this project with other systems. Not part of the test suite."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Encoders, exported graphs, tables and logs, kept from run to run.
WORK = ROOT / "var" / "bench"
RESULTS = ROOT / "benchmarks" / "results"
# Every contender gets these, the clients of the services too.
CORES = 2
