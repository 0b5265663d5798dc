import subprocess
import sys

from tests.factories import ROOT


def test_the_policy_is_set_before_torch_is_imported():
    script = """
import os, sys, types
os.environ.pop("OMP_WAIT_POLICY", None)

class Done(Exception):
    pass

class Finder:
    def find_spec(self, name, *_):
        if name == "sentiment.training.finetuning":
            raise Done

sys.meta_path.insert(0, Finder())
from jobs.finetune import run
try:
    run(None, None)
except Done:
    print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("PASSIVE False\n", "")
