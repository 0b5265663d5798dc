"""The files that make this repository a Domino template say what Domino asks for."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "template_definition"


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return content


def test_project_has_every_field() -> None:
    assert set(load("project.json")) == {
        *("title", "id", "description", "categories", "mainRepository", "owner", "models", "license"),
        *("data", "hardwareTier", "environmentReqs", "supportedDominoVersions", "test"),
    }


def test_project_is_licensed_and_tested_as_the_repository_is() -> None:
    project = load("project.json")

    assert project["license"]["name"] == "Apache-2.0"
    assert set(project["test"]) == {"test_command", "hardware_tier_id"}
    assert project["test"]["test_command"] == "bash .ci/run"


def test_project_says_what_it_is() -> None:
    project = load("project.json")

    assert all(project[field] for field in ("title", "id", "description", "categories", "models"))
    assert all(model["name"] and model["source"] for model in project["models"])


def test_environment_has_every_field() -> None:
    assert set(load("environment.json")) == {"uri", "commitId"}
