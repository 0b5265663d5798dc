"""Count the cores that this process may use."""

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def count_cores(groups: Path = _GROUPS) -> int:
    """Return the number of cores, at least 1: those it may run on, and no more than a container's limit.

    `groups` has the limits of the process's own control group, as in a container: version 2 or version 1.
    """
    available = len(os.sched_getaffinity(0))
    limit = _read_limit(groups)
    return available if limit is None else max(1, min(available, math.ceil(limit)))


def _read_limit(groups: Path) -> float | None:
    """Return the CPU time per time of a control group, as 1.5; None without a limit."""
    try:
        if (groups / "cpu.max").exists():
            quota, period = (groups / "cpu.max").read_text().split()
        else:
            quota = (groups / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (groups / "cpu" / "cpu.cfs_period_us").read_text().strip()
        # No limit is `max` in version 2 and -1 in version 1.
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # this system has no control groups, or others
