"""S3: what static tools find in the code, and known vulnerabilities in what it stands on."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.matrix import Case

from .cells import World

SCANNED = ("sentiment", "jobs", "score.py")
FORBIDDEN = {
    "reading a pickle": r"\b(?:pickle|cloudpickle|joblib|dill|marshal|torch)\.(?:loads?|Unpickler)\(",
    "a pickle's names": r"^\s*from (?:pickle|cloudpickle|joblib|dill|marshal|shelve) import",
    "remote code": r"trust_remote_code\s*=\s*True",
    "a YAML loader that makes objects": r"yaml\.(?:load|unsafe_load|full_load)\(",
    "a shell": r"shell\s*=\s*True|os\.system\(|os\.popen\(",
    "eval": r"(?<![\w.])(?:eval|exec)\(",
    "a digest that is broken": r"hashlib\.(?:md5|sha1)\(",
}
_NO_DATABASE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ServiceError|NameResolutionError|Max retries|ProxyError",
    re.I,
)
_MIN_SHARE = 0.9
"""Of the packages that must have been looked up; a few are on no index, such as torch's builds."""


def list_cases() -> list[Case]:
    """S3: a scan of the code, a search of it, and an audit of the packages."""
    return [
        Case("bandit finds nothing of high severity", _run_bandit, is_quick=True),
        Case("the code reads no pickle or unsafe YAML, and runs no shell or eval", _search, is_quick=True),
        Case("no package is known to be vulnerable, or nobody could be asked", _audit),
    ]


def _run_bandit(world: World, folder: Path) -> None:
    found = _run("bandit", "-r", *SCANNED, "-f", "json", "-q")
    report = json.loads(found.stdout)
    assert not report["errors"], report["errors"]
    assert report["metrics"]["_totals"]["loc"] > 1_000, "it read nothing"
    high = [
        f"{one['filename']}:{one['line_number']} {one['test_id']} {one['issue_text']}"
        for one in report["results"]
        if one["issue_severity"] == "HIGH"
    ]
    assert not high, high


def _search(world: World, folder: Path) -> None:
    files = [file for name in SCANNED for file in sorted(ROOT.joinpath(name).rglob("*.py"))] + [
        ROOT / "score.py"
    ]
    found = [
        f"{file.relative_to(ROOT)}:{number}: {what}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if re.search(pattern, line)
    ]
    assert len(files) > 30, "it read nothing"
    assert not found, found


def _audit(world: World, folder: Path) -> None:
    """Of what is installed here, which is what setup.py asks for; this project itself is in no index."""
    found = _run(
        "pip_audit",
        "--local",
        "--skip-editable",
        "-f",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "20",
    )
    if not found.stdout.strip().startswith("{"):
        assert _NO_DATABASE.search(found.stderr), found.stderr[-2_000:]
        return _tell_unaudited("the database of vulnerabilities cannot be reached from here")
    packages: list[dict[str, Any]] = json.loads(found.stdout)["dependencies"]
    known = [one for one in packages if "skip_reason" not in one]
    if len(known) < len(packages) * _MIN_SHARE:
        # A mirror without the index's JSON makes it skip each package and end in 0.
        return _tell_unaudited(f"the index knows {len(known)} of {len(packages)} packages")
    vulnerable = {f"{one['name']} {one['version']}": [v["id"] for v in one["vulns"]] for one in known}
    vulnerable = {name: ids for name, ids in vulnerable.items() if ids}
    print(f"  {len(known)} of {len(packages)} packages audited", flush=True)
    assert not vulnerable, vulnerable
    return None


def _tell_unaudited(reason: str) -> None:
    print(f"  not audited: {reason}", flush=True)


def _run(tool: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
