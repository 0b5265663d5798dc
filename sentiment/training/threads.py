"""Set how OpenMP threads wait for each other; must be called before torch is imported."""

import os
from collections.abc import MutableMapping

WAIT_POLICY = "OMP_WAIT_POLICY"


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let idle OpenMP threads sleep, unless the environment already sets a policy.

    By default they spin, and take time from other processes. OpenMP reads the policy when torch loads it.
    """
    environment.setdefault(WAIT_POLICY, "PASSIVE")
