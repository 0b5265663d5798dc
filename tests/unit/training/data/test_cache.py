import errno
import os
import subprocess
import sys

import pytest

from sentiment.errors import ConfigError, UnreadableFileError
from sentiment.training.data import cache


def write(root, key, size=1000, age=0):
    with cache.write_entry(key, root) as folder:
        (folder / "rows").write_bytes(b"x" * size)
    os.utime(root / key, (1e9 - age, 1e9 - age))


def test_an_entry_is_found_only_when_it_is_whole(tmp_path):
    with pytest.raises(ZeroDivisionError), cache.write_entry("a", tmp_path):
        1 / 0  # noqa: B018 an error while an entry is written
    assert cache.find_entry("a", tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    write(tmp_path, "a")
    assert {path.name for path in cache.find_entry("a", tmp_path).iterdir()} == {"rows", "digests.json"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_folder(tmp_path, number):
    with (
        pytest.raises(
            ConfigError, match="no room for prepared data in .*; make room, or set SENTIMENT_DATA_CACHE"
        ),
        cache.write_entry("a", tmp_path),
    ):
        raise OSError(number, "Error writing bytes to file")
    assert list(tmp_path.iterdir()) == []


def test_another_error_of_the_system_stays_as_it_is(tmp_path):
    with pytest.raises(OSError, match="Input/output"), cache.write_entry("a", tmp_path):
        raise OSError(errno.EIO, "Input/output error")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path, *rest, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(UnreadableFileError, match=r"a\.csv: cannot be read \(Permission denied\)"):
        cache.make_key([tmp_path / "a.csv"], [])


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def change(path):
    path.write_bytes(b"?" + path.read_bytes()[1:])


@pytest.mark.parametrize("damage", [cut, change, os.remove])
@pytest.mark.parametrize("name", ["rows", "digests.json"])
def test_a_damaged_entry_is_removed_with_a_warning(tmp_path, caplog, damage, name):
    write(tmp_path, "a")
    damage(tmp_path / "a" / name)
    assert cache.find_entry("a", tmp_path) is None
    assert not (tmp_path / "a").exists()
    assert f"{tmp_path}/a/{name}: prepared data were damaged" in caplog.text


def test_an_unknown_file_in_an_entry_is_damage(tmp_path):
    write(tmp_path, "a")
    (tmp_path / "a" / "more").touch()
    assert cache.find_entry("a", tmp_path) is None


def test_a_damaged_entry_that_cannot_be_removed_is_an_error(tmp_path, monkeypatch):
    write(tmp_path, "a")
    cut(tmp_path / "a" / "rows")
    monkeypatch.setattr(cache.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="a/rows: .* cannot be removed.*SENTIMENT_DATA_CACHE"):
        cache.find_entry("a", tmp_path)


def test_the_key_is_that_of_the_content_and_the_facts(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    key = cache.make_key([tmp_path / "a"], ["x"])
    assert key == cache.make_key([tmp_path / "a"], ["x"])
    assert key != cache.make_key([tmp_path / "a"], ["y"])
    (tmp_path / "a").write_bytes(b"2")
    assert key != cache.make_key([tmp_path / "a"], ["x"])


def test_the_entries_unused_for_the_longest_time_are_removed(tmp_path):
    for age, key in enumerate("abcd"):
        write(tmp_path, key, age=age)
    cache.find_entry("d", tmp_path)  # used now
    cache.remove_oldest(tmp_path, 2500)
    assert {folder.name for folder, _ in cache.list_entries(tmp_path)} == {"d", "a"}


def test_what_a_killed_process_left_is_removed(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from sentiment.training.data.cache import write_entry\n"
        "with write_entry('a', Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with cache.write_entry("b", tmp_path):
        assert [path.name[:2] for path in tmp_path.iterdir()] == ["b."]
        with cache.write_entry("c", tmp_path):  # b is in use and stays
            assert {path.name[:2] for path in tmp_path.iterdir()} == {"b.", "c."}


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="SENTIMENT_DATA_CACHE"), cache.write_entry("a", tmp_path / "file"):
        pass


def test_the_command_lists_and_clears(tmp_path):
    write(tmp_path, "a")
    env = {**os.environ, "SENTIMENT_DATA_CACHE": str(tmp_path)}
    for action, says in (("list", "1 entries"), ("clear", "removed"), ("list", "0 entries")):
        command = [sys.executable, "-m", "sentiment.training.data", action]
        assert says in subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
