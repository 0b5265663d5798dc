"""Write the results of a benchmark as one JSON file per kind, plan and machine."""

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import RESULTS
from .machine import Machine, read_versions

Section = dict[str, Any]
FULL, QUICK = "full", "quick"


def record(
    kind: str, plan: str, machine: Machine, sections: dict[str, Section], folder: Path = RESULTS
) -> Path:
    """Add sections to the file of this kind and machine, and return its path.

    Sections of an earlier run stay if machine and versions are the same, so that a failed run loses only its
    last section. A quick run has a separate file.
    """
    parts = [kind, *([] if plan == FULL else [plan]), machine.name]
    path = folder / f"{'-'.join(parts)}.json"
    head = {"kind": kind, "plan": plan, "machine": asdict(machine), "versions": read_versions()}
    head = json.loads(json.dumps(head))  # as JSON returns it: a tuple becomes a list
    found = json.loads(path.read_text()) if path.exists() else {}
    kept = found["sections"] if {key: found.get(key) for key in head} == head else {}
    date = datetime.now(UTC).date().isoformat()
    stamped = {name: {"date": date} | section for name, section in sections.items()}
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(head | {"sections": kept | stamped}, indent=2) + "\n")
    partial.replace(path)
    return path
