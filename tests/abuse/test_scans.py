"""Findings of static tools in the code, and known vulnerabilities in what it stands on."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.factories import ROOT

pytestmark = [
    pytest.mark.abuse,
    pytest.mark.promise("S3", "static scans and an audit of the packages"),
]

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
# Of the packages that must have been looked up; a few are on no index, such as torch's builds.
_MIN_SHARE = 0.9


@pytest.mark.quick
def test_bandit_finds_nothing_of_high_severity() -> None:
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


@pytest.mark.quick
def test_the_code_reads_no_pickle_or_unsafe_yaml_and_runs_no_shell_or_eval() -> None:
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


def test_no_package_is_known_to_be_vulnerable_or_nobody_could_be_asked(note) -> None:
    """Audit what is installed here, which is what setup.py asks for; this project itself is in no index."""
    options = ("--local", "--skip-editable", "-f", "json", "--progress-spinner", "off", "--timeout", "20")
    found = _run("pip_audit", *options)
    if not found.stdout.strip().startswith("{"):
        assert _NO_DATABASE.search(found.stderr), found.stderr[-2_000:]
        note("not audited: the database of vulnerabilities cannot be reached from here")
        return
    packages: list[dict[str, Any]] = json.loads(found.stdout)["dependencies"]
    known = [one for one in packages if "skip_reason" not in one]
    if len(known) < len(packages) * _MIN_SHARE:
        # A mirror without the index's JSON makes it skip each package and end in 0.
        note(f"not audited: the index knows {len(known)} of {len(packages)} packages")
        return
    vulnerable = {f"{one['name']} {one['version']}": [v["id"] for v in one["vulns"]] for one in known}
    vulnerable = {name: ids for name, ids in vulnerable.items() if ids}
    note(f"{len(known)} of {len(packages)} packages audited")
    assert not vulnerable, vulnerable


def _run(tool: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
