"""Compare the speed of this project with other systems."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Encoders, exported graphs, tables and logs; later runs use them again.
WORK = ROOT / "var" / "bench"
RESULTS = ROOT / "benchmarks" / "results"
# All contenders use this number of cores; services share them with their clients.
CORES = 2
