"""The files that deploy the service are valid, and agree with the service and with each other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sentiment.config import ServeConfig
from sentiment.serving.guard import OPEN_PATHS
from sentiment.serving.service import _CLOSE_SECONDS
from sentiment.serving.tokens import is_private
from tests.factories import ROOT

BIN = Path(sys.executable).parent
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "template_definition" / "Dockerfile"]
RESOURCES = list(yaml.safe_load_all((ROOT / "docs" / "examples" / "kubernetes.yaml").read_text()))
SERVICE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["sentiment"]


def find_deployment() -> dict[str, Any]:
    [deployment] = [found for found in RESOURCES if found["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    command = [BIN / "hadolint", "--no-fail", "--format", "json", dockerfile]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_image_is_pinned_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert len(bases) == 2
    assert all(base.rpartition(":")[2].count(".") == 2 for base in bases)
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == ["10001:10001"] == [SERVICE["user"]]


def test_the_build_gets_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    dockerfile = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {
        name
        for line in dockerfile
        if line.startswith("COPY") and "--from" not in line
        for name in line.split()[1:-1]
    }
    assert lines[1] == "*"
    assert sent == copied


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource["kind"])
def test_resources_have_the_schema_of_kubernetes(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_a_pod_has_time_to_finish_what_runs() -> None:
    pod = find_deployment()
    [container] = pod["containers"]
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(container["args"][container["args"].index("--drain_seconds") + 1])
    assert pod["terminationGracePeriodSeconds"] >= waits + drain + _CLOSE_SECONDS
    default = ServeConfig().drain_seconds + _CLOSE_SECONDS
    assert float(SERVICE["stop_grace_period"].removesuffix("s")) > default


def test_probes_ask_paths_that_need_neither_token_nor_host() -> None:
    [container] = find_deployment()["containers"]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    assert set(paths.values()) <= OPEN_PATHS
    assert (paths["liveness"], paths["readiness"]) == ("/healthz", "/readyz")


def test_pod_and_container_may_write_to_tmp_only() -> None:
    [container] = find_deployment()["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert writable == ["/tmp"] == [mount.partition(":")[0] for mount in SERVICE["tmpfs"]]
    assert SERVICE["read_only"]
    assert SERVICE["cap_drop"] == ["ALL"] == container["securityContext"]["capabilities"]["drop"]


@pytest.mark.parametrize(
    ("mode", "owner", "user", "expected"),
    [
        (0o600, 1000, 1000, True),
        (0o640, 1000, 1000, False),
        (0o440, 0, 10001, True),  # a secret that Kubernetes mounts
        (0o460, 0, 10001, False),
        (0o444, 0, 10001, False),
        (0o440, 0, 0, False),
    ],
)
def test_a_tokens_file_is_private(mode: int, owner: int, user: int, expected: bool) -> None:
    assert is_private(mode, owner, user) is expected
