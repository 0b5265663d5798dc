"""Labels are data: no code names a class, except where class names are defined or read."""

import ast

from tests.factories import ROOT

# Presets of class names, and the readers that understand other people's labels.
HOMES = ("sentiment/schema.py", "sentiment/training/data/")
NAMES = {"negative", "positive", "neutral"}


def test_no_class_is_named_outside_presets_and_readers():
    found = []
    for path in [*(ROOT / "sentiment").rglob("*.py"), *(ROOT / "jobs").glob("*.py"), ROOT / "score.py"]:
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(HOMES):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in NAMES:
                found.append(f"{place}:{node.lineno}")
    assert found == []
