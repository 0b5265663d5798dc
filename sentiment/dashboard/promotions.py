"""Promote or roll back by the job itself: the same gates, the same ledger, in a process of its own.

The app stays small (the job loads two models) and a promotion does not die with a page that is closed.
"""

import hmac
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ConfigError
from ..job_process import JobProcess, start_job

JOB = Path("jobs") / "promote.py"
MIN_TOKEN_CHARS = 16


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


def make_promotion(home: Path, challenger: str, test: str, alias: str, dry_run: bool) -> list[str]:
    """Return the command line that judges and promotes."""
    values = {"challenger": challenger, "test": test, "alias": alias}
    return _make_command(home, values, ["--dry_run"] if dry_run else [])


def make_rollback(home: Path, name: str, alias: str) -> list[str]:
    """Return the command line that moves the alias of a registered model back."""
    return _make_command(home, {"registered_model_name": name, "alias": alias}, ["--rollback"])


def start(home: Path, command: list[str]) -> JobProcess:
    """Start the job; it goes on, and keeps its log and summary, if nobody looks at it."""
    folder = Path(tempfile.mkdtemp(prefix="sentiment-promote-"))
    return start_job(command, folder, home, is_detached=True)


def _make_command(home: Path, values: Mapping[str, str], flags: Sequence[str]) -> list[str]:
    # A value cannot be taken for another argument.
    return [sys.executable, str(home / JOB), *[f"--{name}={value}" for name, value in values.items()], *flags]
