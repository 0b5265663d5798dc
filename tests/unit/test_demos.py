"""Commands that no test runs whole can at least be started."""

import importlib

import pytest


@pytest.mark.parametrize("module", ["tests.cluster.demo"])
def test_a_command_finds_what_it_imports(module):
    importlib.import_module(module)
