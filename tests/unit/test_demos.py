"""Demos and benchmarks, which no test runs whole, find what they import from the project."""

import ast
import importlib

import pytest

from tests.factories import ROOT

FOLDERS = ("tests/cluster", "tests/month", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_finds_what_it_imports(path):
    """Also in functions: these imports would fail only once the command is under way."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        if not name.startswith(("sentiment", "jobs", "tests", "benchmarks")):
            continue
        module = importlib.import_module(name)
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f"{name}.{alias.name}")
