import json
from dataclasses import replace

import pytest

from sentiment.errors import StoreError
from sentiment.tables.store.manifests import (
    MANIFEST,
    MANIFEST_VERSION,
    Consumption,
    PublishedFile,
    Window,
    load_manifest,
)
from tests.factories import make_manifest

INPUT = {"path": "/in/é.parquet", "size_bytes": 2**40, "start_row": 0, "stop_row": 3}
FULL = make_manifest(
    7,
    consumption=Consumption(
        (INPUT,), "shop,id", "title,text", "m", Window("day", None, "2026-01-31"), True, 6
    ),
    skipped_rows={"known": 2},
    bad_files=({"path": "/in/b.parquet", "reason": "is damaged"},),
    files=(PublishedFile("part-0.parquet", 1, 100, "ab"),),
)
SINCE_5 = (
    *("conflicting_ids", "repeated_texts", "forgotten_rows", "profile"),
    *("min_score", "target_accuracy", "input_version"),
)
COMPACTED = make_manifest(9, parts=(make_manifest(1), FULL), consumption=FULL.consumption)


@pytest.fixture
def path(tmp_path):
    return tmp_path / MANIFEST


@pytest.mark.parametrize("manifest", [make_manifest(1), FULL, COMPACTED])
def test_what_is_written_is_read(path, manifest):
    path.write_text(manifest.to_json(), encoding="utf-8")
    assert load_manifest(path) == manifest


def test_a_batch_is_its_own_origin_and_a_compacted_one_has_its_parts():
    assert FULL.origins == (FULL,)
    assert COMPACTED.origins == COMPACTED.parts


@pytest.mark.parametrize("version", [MANIFEST_VERSION + 1, 1, None, "2"])
def test_another_version_is_refused_by_name(path, version):
    content = {**json.loads(FULL.to_json()), "manifest_version": version}
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=f"is of manifest version {version}, expected {MANIFEST_VERSION}"):
        load_manifest(path)


@pytest.mark.parametrize("length", [0, 1, 100, -2])
def test_a_manifest_cut_short_is_refused(path, length):
    path.write_text(FULL.to_json()[:length])
    with pytest.raises(StoreError, match="not known what was scored"):
        load_manifest(path)


@pytest.mark.parametrize("content", ["[]", "null", "7", '"text"', "\udcff"])
def test_what_is_no_manifest_is_refused(path, content):
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(StoreError, match="not known what was scored"):
        load_manifest(path)


@pytest.mark.parametrize("key", sorted(json.loads(FULL.to_json())))
def test_a_missing_or_unknown_key_is_refused_unless_it_may_be_left_out(path, key):
    content = json.loads(FULL.to_json())
    value = content.pop(key)
    for changed in (content, {**content, f"{key}x": value}):
        path.write_text(json.dumps(changed))
        with pytest.raises(StoreError):
            load_manifest(path)


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        (2, ("engines", "label_names", "unsure_rows", *SINCE_5)),
        (3, ("label_names", "unsure_rows", *SINCE_5)),
        (4, SINCE_5),
    ],
)
def test_an_older_manifest_states_less(path, version, missing):
    taken = replace(FULL.consumption, retries_after=0)
    full = replace(FULL, consumption=taken)
    compacted = replace(COMPACTED, consumption=taken, parts=(COMPACTED.parts[0], full))
    content = json.loads(compacted.to_json())
    for manifest in (content, *content["parts"]):
        for name in missing:
            del manifest[name]
        del manifest["consumption"]["retries_after"]
        manifest["consumption"]["repeats_of"] = [INPUT]
    path.write_text(json.dumps({**content, "manifest_version": version}))
    assert load_manifest(path) == compacted


def test_a_missing_manifest_is_refused(path):
    with pytest.raises(StoreError, match="restore it"):
        load_manifest(path)
