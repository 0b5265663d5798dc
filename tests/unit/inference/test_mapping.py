"""A mapped file's pages leave a process's memory, and its content stays readable."""

import mmap
from pathlib import Path

import pytest

from sentiment.inference import mapping
from sentiment.inference.mapping import release_pages

SIZE = 8 * 2**20


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "the weights.bin"  # a blank in the name is a blank in /proc/self/maps
    path.write_bytes(b"\1" * SIZE)
    return path


def read_resident_bytes(file):
    """Of this process, by mappings of the file (proc_pid_smaps(5))."""
    resident, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split()[0].endswith(":"):
            is_ours = line.endswith(str(file))
        elif is_ours and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
    return resident


def test_pages_are_released_and_read_again(file):
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == SIZE // mmap.PAGESIZE
        assert read_resident_bytes(file) == SIZE
        release_pages(file)
        assert read_resident_bytes(file) == 0
        assert sum(mapped[:: mmap.PAGESIZE]) == SIZE // mmap.PAGESIZE


def test_what_was_written_to_a_mapping_is_kept(file):
    with open(file, "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with mapped:
        mapped[:3] = b"new"
        release_pages(file)
        assert mapped[:4] == b"new\1"


def test_other_files_stay(file, tmp_path):
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) > 0
        release_pages(tmp_path / "another.bin")
        assert read_resident_bytes(file) == SIZE


def test_a_system_without_such_a_list_is_left_alone(file, tmp_path, monkeypatch):
    monkeypatch.setattr(mapping, "_MAPS", tmp_path / "none")
    release_pages(file)
