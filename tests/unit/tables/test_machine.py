"""What a machine needs to start Spark."""

import os

import pytest

from sentiment.errors import ConfigError
from sentiment.tables.machine import check_java, check_not_remote, check_user


def install(folder, version=None, prints=None):
    """Make a Java that states its version in its file `release`, or prints it."""
    (folder / "bin").mkdir(parents=True)
    java = folder / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho '{prints}' >&2\n")
    java.chmod(0o755)
    if version is not None:
        (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


@pytest.mark.parametrize("version", ["17", "17.0.15", "21.0.2", "25"])
def test_a_java_that_is_new_enough_is_accepted(tmp_path, version):
    check_java({"JAVA_HOME": str(install(tmp_path / "stated", version))})
    printing = install(tmp_path / "printed", prints=f'openjdk version "{version}" 2025-04-15')
    check_java({"JAVA_HOME": str(printing)})
    check_java({"PATH": f"/nowhere:{printing}/bin"})


@pytest.mark.parametrize("version", ["1.8.0_292", "8", "11.0.2", "16"])
def test_an_older_java_is_named_with_its_version(tmp_path, version):
    stated = install(tmp_path / "stated", version)
    printing = install(tmp_path / "printed", prints=f'openjdk version "{version}"')
    for home in (stated, printing):
        with pytest.raises(
            ConfigError, match=f"needs Java 17 or newer, and {home}/bin/java is {version.split('_')[0]}"
        ):
            check_java({"JAVA_HOME": str(home)})


def test_a_link_to_java_is_followed(tmp_path):
    home = install(tmp_path / "jdk", "11.0.2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    with pytest.raises(ConfigError, match="is 11.0.2"):
        check_java({"PATH": str(tmp_path / "bin")})


@pytest.mark.parametrize("environment", [{"PATH": "/nowhere"}, {"JAVA_HOME": "/nowhere", "PATH": os.defpath}])
def test_a_machine_without_java_is_told_what_to_install(environment):
    with pytest.raises(ConfigError, match=r"(PATH|JAVA_HOME=/nowhere) has none; install Java 17"):
        check_java(environment)


def test_what_is_called_java_and_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not state its version"):
        check_java({"JAVA_HOME": str(install(tmp_path / "a", prints="hello"))})


def test_a_user_without_a_name_is_told_how_to_get_one():
    check_user(os.getuid())
    with pytest.raises(ConfigError, match="user 987654321 has no entry in /etc/passwd"):
        check_user(987_654_321)


@pytest.mark.parametrize("name", ["SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"])
def test_an_environment_that_asks_for_connect_is_refused(name):
    check_not_remote({"HOME": "/"})
    with pytest.raises(ConfigError, match=f"{name} is set, but the scoring job needs classic Spark"):
        check_not_remote({name: "sc://host"})
