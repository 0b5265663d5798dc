"""Settle how OpenMP's threads wait for each other, before torch starts them."""

import os
from collections.abc import MutableMapping

WAIT_POLICY = "OMP_WAIT_POLICY"


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let idle OpenMP threads sleep, unless the environment already states a policy.

    By default they spin, for the time that another process could use, and a thread that has lost its core
    keeps all others spinning. OpenMP reads the policy once, when torch loads it: call this before.
    """
    environment.setdefault(WAIT_POLICY, "PASSIVE")
