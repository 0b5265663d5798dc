"""`app.sh`: where the app listens and with which protection, told by a stand-in for Streamlit."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"address": "127.0.0.1", "port": "8888", "enableXsrfProtection": "true", "enableCORS": "true"}),
        (
            {"DOMINO_RUN_ID": "1"},
            {"address": "0.0.0.0", "port": "8888", "enableXsrfProtection": "false", "enableCORS": "false"},
        ),
        ({"DOMINO_PROJECT_ID": "1"}, {"address": "0.0.0.0", "enableXsrfProtection": "false"}),
        ({"APP_HOST": "10.0.0.1", "APP_PORT": "9000"}, {"address": "10.0.0.1", "port": "9000"}),
    ],
)
@pytest.mark.parametrize("place", [".venv/bin", "elsewhere"])
def test_app_sh_listens_to_all_only_behind_domino(tmp_path, environment, expected, place):
    home = tmp_path / "home of the app"
    program = home / place / "streamlit"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$PYTHONPATH" "$@"\n')
    program.chmod(0o755)
    shutil.copy(ROOT / "app.sh", home)
    path = "/usr/bin:/bin" if place == ".venv/bin" else f"{program.parent}:/usr/bin:/bin"
    done = subprocess.run(
        [home / "app.sh"],
        env={"PATH": path, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    folder, python_path, *arguments = done.stdout.splitlines()
    assert folder == python_path == str(home)
    assert arguments[:2] == ["run", "sentiment/dashboard/app.py"]
    options = dict(argument.removeprefix("--").split("=") for argument in arguments[2:])
    assert {f"server.{name}": value for name, value in expected.items()}.items() <= options.items()
    assert options["client.showErrorDetails"] == "none"
    assert options["browser.gatherUsageStats"] == "false"
    assert options["server.headless"] == "true"


def test_app_sh_says_what_to_install_without_streamlit(tmp_path):
    shutil.copy(ROOT / "app.sh", tmp_path)
    done = subprocess.run(
        [tmp_path / "app.sh"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 127
    assert done.stderr.count("\n") == 1
    assert "no streamlit" in done.stderr


def test_app_sh_gives_a_home_to_a_user_that_has_none(tmp_path):
    programs = {"streamlit": 'echo "$HOME"', "getent": "exit 2"}
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    shutil.copy(ROOT / "app.sh", tmp_path)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    for given, expected in (({}, str(tmp_path)), ({"HOME": "/home/me"}, "/home/me")):
        done = subprocess.run(
            [tmp_path / "app.sh"], env=environment | given, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
