"""A container's limit counts, not the cores of its machine."""

import os

import pytest

from sentiment.process.cores import count_cores


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 16),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 16),
        ("unknown", 16),
    ],
)
def test_cores_of_a_control_group(tmp_path, limit, cores):
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert count_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("300000", 3)])
def test_cores_of_a_control_group_of_version_1(tmp_path, quota, cores):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert count_cores(tmp_path) == cores


def test_a_system_without_control_groups(tmp_path):
    assert count_cores(tmp_path) == 16
