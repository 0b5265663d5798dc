"""Test the comparison of files with their record, and the check of their shape, without MLflow."""

import hashlib
import os
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment.errors import ModelIntegrityError
from sentiment.models import copies, integrity

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
PYFUNC = {
    "artifacts": {"encoder": {"path": "artifacts/encoder", "uri": "/tmp/anywhere"}},
    "code": "code",
    "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    "loader_module": "mlflow.pyfunc.loaders.code_model",
    "model_code_path": "/tmp/sentiment-code-abc/sentiment_model.py",
}
EXAMPLE = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}
FILES = (
    *("sentiment_model.py", "conda.yaml", "python_env.yaml", "input_example.json"),
    *("serving_input_example.json", "code/package/__init__.py", "artifacts/encoder/graph.bin"),
)


@pytest.fixture
def folder(tmp_path):
    """What MLflow makes of a model, without its contents."""
    root = tmp_path / "model"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    write_model_file(root)
    return root


def write_model_file(root, example=EXAMPLE, **changes):
    pyfunc = {name: value for name, value in {**PYFUNC, **changes}.items() if value is not None}
    content = {"flavors": {"python_function": pyfunc}, "saved_input_example_info": example}
    (root / "MLmodel").write_text(yaml.safe_dump(content))


def test_every_file_is_digested_by_its_relative_path(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "empty").touch()
    (tmp_path / "abc").write_bytes(b"abc")
    assert integrity.make_record(tmp_path) == {
        "a/b/empty": EMPTY,
        "abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 3 << 18])
def test_a_digest_is_of_all_bytes_whatever_the_size(tmp_path, size):
    content = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(content)
    assert integrity.make_record(tmp_path) == {"file": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("kind", ["link", "link to a folder", "dangling link", "pipe"])
def test_what_is_neither_file_nor_folder_is_refused(folder, kind):
    record = integrity.make_record(folder)
    strange = folder / "artifacts" / "strange"
    if kind == "pipe":
        os.mkfifo(strange)
    else:
        targets = {"link": folder / "MLmodel", "link to a folder": folder / "code"}
        strange.symlink_to(targets.get(kind, folder / "nothing"))
    for check in (
        integrity.make_record,
        lambda at: integrity.check_files(at, record),
        lambda at: copies.copy_model(at, at.parent / "copy"),
    ):
        with pytest.raises(ModelIntegrityError, match="artifacts/strange"):
            check(folder)


def test_files_that_are_as_recorded_pass_whoever_has_loaded_them_since(folder):
    record = integrity.make_record(folder)
    integrity.check_files(folder, record)
    (folder / "registered_model_meta").write_text("model_name: sentiment\n")
    cache = folder / "code" / "package" / "__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"compiled")
    integrity.check_files(folder, record)
    assert integrity.make_record(folder) == record
    assert integrity.list_ignored(folder) == [
        "code/package/__pycache__/__init__.cpython-311.pyc",
        "registered_model_meta",
    ]


@pytest.mark.parametrize(
    "extra",
    [
        "code/package/planted.py",
        "code/package/planted.pyc",
        "code/package/__pycache__/planted.py",
        "code/package/__pycache__/deeper/planted.pyc",
        "code/planted.so",
        "code/registered_model_meta",
        ".hidden",
        "a name\nof two lines",
    ],
)
def test_an_extra_file_is_refused_and_named(folder, extra):
    record = integrity.make_record(folder)
    (folder / extra).parent.mkdir(parents=True, exist_ok=True)
    (folder / extra).touch()
    with pytest.raises(ModelIntegrityError) as caught:
        integrity.check_files(folder, record)
    assert f"extra: {extra!a}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_names_the_first_few_of_each_kind(folder):
    record = integrity.make_record(folder)
    (folder / "conda.yaml").write_text("other")
    (folder / "sentiment_model.py").unlink()
    for i in range(5):
        (folder / f"new{i}").touch()
    with pytest.raises(ModelIntegrityError) as caught:
        integrity.check_files(folder, record)
    said = str(caught.value)
    assert (
        "missing: 'sentiment_model.py'; changed: 'conda.yaml'; extra: 'new0', 'new1', 'new2' and 2 more"
        in said
    )
    assert "expected the 8 recorded files" in said
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../outside", "code/../../outside", "a//b", "./a", "", "a\\b"]
)
def test_a_record_of_what_is_not_inside_is_refused(folder, path):
    outside = folder.parent / "outside"
    outside.touch()
    with pytest.raises(ModelIntegrityError, match="the record of its files is damaged"):
        integrity.check_files(folder, integrity.make_record(folder) | {path: EMPTY})


@pytest.mark.parametrize("record", [{}, {"MLmodel": "short"}, {"MLmodel": EMPTY.upper()}])
def test_a_record_that_proves_nothing_is_refused(folder, record):
    with pytest.raises(ModelIntegrityError, match="damaged"):
        integrity.check_files(folder, record)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_one_change_is_found(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("any")
    names = data.draw(st.lists(st.sampled_from("abcde"), min_size=1, unique=True))
    paths = [root / Path(*names[: i + 1]) / "f" for i in range(len(names))]
    contents = data.draw(st.lists(st.binary(max_size=40), min_size=len(paths), max_size=len(paths)))
    for path, content in zip(paths, contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    record = integrity.make_record(root)
    integrity.check_files(root, record)
    path, content = data.draw(st.sampled_from(list(zip(paths, contents, strict=True))))
    change = data.draw(st.sampled_from(["bit", "longer", "shorter", "gone", "renamed", "another"]))
    if change in ("bit", "shorter") and content:
        at = data.draw(st.integers(0, len(content) - 1))
        flipped = bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))])
        path.write_bytes(content[:at] + flipped + content[at + 1 :] if change == "bit" else content[:at])
    elif change == "longer":
        path.write_bytes(content + b"\0")
    elif change == "gone":
        path.unlink()
    elif change == "renamed":
        path.rename(path.with_name("g"))
    else:
        path.with_name("g").write_bytes(content)
    with pytest.raises(ModelIntegrityError):
        integrity.check_files(root, record)


def test_the_shape_of_a_logged_model_passes(folder):
    integrity.check_shape(folder)
    write_model_file(folder, example=None, artifacts=None, code=None, env=None)
    integrity.check_shape(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loader_module": "mlflow.sklearn"}, "loader_module is 'mlflow.sklearn'"),
        ({"loader_module": "os"}, "loader_module is 'os'"),
        ({"loader_module": None}, "loader_module is None"),
        ({"loader_module": ["mlflow.pyfunc.model"]}, "loader_module is"),
        ({"model_code_path": None}, "python_model is pickled"),
        ({"python_model": "python_model"}, "python_model is pickled"),
        ({"model_code_path": "code/../../evil.py"}, "model_code_path is"),
        ({"model_code_path": "/tmp/absent.py"}, "model_code_path is 'absent.py'"),
        ({"model_code_path": 7}, "model_code_path is 7"),
        ({"code": "../elsewhere"}, "code is '../elsewhere'"),
        ({"code": "/tmp"}, "code is '/tmp'"),
        ({"code": ["code"]}, "code is"),
        ({"data": "code/../.."}, "data is"),
        ({"artifacts": {"encoder": {"path": "../encoder"}}}, "artifacts.encoder is"),
        ({"artifacts": {"encoder": {"path": "artifacts/none"}}}, "artifacts.encoder is"),
        ({"artifacts": {"encoder": "artifacts/encoder"}}, "artifacts.encoder is"),
        ({"artifacts": ["artifacts/encoder"]}, "artifacts. is"),
        ({"env": {"conda": "/etc/passwd"}}, "env.conda is"),
        ({"env": "../conda.yaml"}, "env. is"),
        ({"example": {"artifact_path": "../secret"}}, "artifact_path is"),
    ],
)
def test_a_model_file_that_leads_elsewhere_is_refused(folder, changes, says):
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "encoder").mkdir()
    write_model_file(folder, **changes)
    with pytest.raises(ModelIntegrityError, match=says):
        integrity.check_shape(folder)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "- 1\n",
        "flavors: [",
        "flavors: {sklearn: {}}\n",
        "flavors: {python_function: 7}\n",
        "a: !!python/object/apply:os.system [touch /tmp/canary]\n",
        "\x00",
        "[" * 3000,
        "x" * ((1 << 20) + 1),
    ],
)
def test_a_model_file_that_is_no_plain_yaml_of_a_pyfunc_is_refused(folder, content):
    (folder / "MLmodel").write_text(content)
    with pytest.raises(ModelIntegrityError, match="MLmodel"):
        integrity.check_shape(folder)


def test_a_folder_without_a_model_file_is_refused(tmp_path):
    with pytest.raises(ModelIntegrityError, match="cannot be read"):
        integrity.check_shape(tmp_path)
    with pytest.raises(ModelIntegrityError, match="cannot be read"):
        integrity.check_shape(tmp_path / "none")


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=30), st.sampled_from([EMPTY, EMPTY[::-1]]), min_size=1, max_size=200
    )
)
@settings(max_examples=40, deadline=None)
def test_a_record_goes_through_tags_whole(record):
    tags = integrity.pack_tags("files", integrity.dump_record(record))
    assert all(len(value) <= 5_000 for value in tags.values())
    assert list(tags)[-1] == "files", "without the last one there is no record: a writer may be killed"
    assert integrity.load_record(integrity.unpack_tags("files", tags)) == record
    lost = {name: value for name, value in tags.items() if name != "files.0"}
    with pytest.raises(ModelIntegrityError, match="damaged"):
        integrity.unpack_tags("files", lost)


def test_no_tag_is_no_record_and_a_damaged_one_is_an_error():
    assert integrity.unpack_tags("files", {"other": "1"}) is None
    for count in ("", "x", "-1", "99999", "1"):
        with pytest.raises(ModelIntegrityError, match="damaged"):
            integrity.unpack_tags("files", {"files": count})
    for text in ("", "[]", "{", '{"a": 1}', "[" * 100_000):
        with pytest.raises(ModelIntegrityError, match="damaged"):
            integrity.load_record(text)


def test_more_files_than_any_registry_takes_is_an_error():
    record = {f"{i:0100}": EMPTY for i in range(10_000)}
    with pytest.raises(ModelIntegrityError, match="too many files"):
        integrity.pack_tags("files", integrity.dump_record(record))
