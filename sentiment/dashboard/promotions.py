"""Promote a challenger by the job itself: the same gates, the same ledger, in a process of its own.

The app stays small (the job loads two models) and a promotion does not die with a page that is closed.
"""

import hmac
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError

JOB = Path("jobs") / "promote.py"
MIN_TOKEN_CHARS = 16


@dataclass(frozen=True)
class Outcome:
    """Hold how the job ended: its exit code, its last line of errors, and its summary, empty without one."""

    exit_code: int
    error: str
    summary: Mapping[str, Any]


def is_right_token(given: str, expected: str) -> bool:
    """Compare two tokens in a time that does not depend on where they differ.

    Raises ConfigError if the expected one is too short to be a secret.
    """
    if len(expected) < MIN_TOKEN_CHARS:
        raise ConfigError(
            f"SENTIMENT_ADMIN_TOKEN: expected {MIN_TOKEN_CHARS} or more characters, found {len(expected)}; "
            "set a longer one"
        )
    return hmac.compare_digest(given.encode(), expected.encode())


def make_command(
    home: Path, challenger: str, test: str, alias: str, summary: Path, dry_run: bool
) -> list[str]:
    """Return the command line of the job; a value cannot be taken for another argument."""
    values = {"challenger": challenger, "test": test, "alias": alias, "summary": str(summary)}
    arguments = [f"--{name}={value}" for name, value in values.items()]
    return [sys.executable, str(home / JOB), *arguments, *(["--dry_run"] if dry_run else [])]


def promote(home: Path, challenger: str, test: str, alias: str, dry_run: bool) -> Iterator[str | Outcome]:
    """Run the job; yield each line of its progress, and at last the outcome."""
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "promote.json"
        command = make_command(home, challenger, test, alias, summary, dry_run)
        process = subprocess.Popen(
            command, cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        assert process.stderr is not None
        error = ""
        with process.stderr:
            for line in process.stderr:
                if line.startswith("error:"):
                    error = line.removeprefix("error:").strip()
                elif line.strip():
                    yield line.strip()
        code = process.wait()
        found = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {}
        yield Outcome(code, error, found)
