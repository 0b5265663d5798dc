"""setup.py is the only place that states the version and what is depended on."""

import re
import shutil
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement

import sentiment
from tests.factories import ROOT

SETUP = (ROOT / "setup.py").read_text()


def test_the_version_is_that_of_the_installed_package():
    assert sentiment.__version__ == metadata.version("sentiment")


def test_the_version_is_written_in_setup_py_only():
    [version] = re.findall(r'version="([^"]+)"', SETUP)
    sources = [
        *(ROOT / "sentiment").rglob("*.py"),
        ROOT / "score.py",
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
    ]
    assert [path.name for path in sources if f'"{version}"' in path.read_text()] == []


def test_sources_that_are_not_installed_have_an_unknown_version(tmp_path):
    (tmp_path / "sentiment").mkdir()
    shutil.copy(ROOT / "sentiment" / "__init__.py", tmp_path / "sentiment")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sentiment; print(sentiment.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0+unknown\n"


def test_importing_the_package_does_not_look_for_its_version():
    code = "import sentiment; assert '__version__' not in vars(sentiment)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_each_range_is_written_once():
    needed = [
        Requirement(text) for text in re.findall(r'^ *(?:\w+ = \[?)?"([\w.-]+[=<>][^"]*)"', SETUP, re.M)
    ]
    names = [need.name for need in needed]
    assert {"torch", "pyspark", "mlflow", "pandas"} <= set(names)
    assert [name for name in names if names.count(name) > 1] == []


def test_the_makefile_states_no_range():
    assert re.findall(r"pip install.*[=<>]=?\d.*", (ROOT / "Makefile").read_text()) == []
