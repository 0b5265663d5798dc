import errno
from types import SimpleNamespace

import pytest

from sentiment.errors import AmbiguousInputError, ConfigError, MissingInputError, UnreadableFileError
from sentiment.training.data.source import ReadOptions
from sentiment.training.data.sources import find_locations


def make_builder(paths, /, features=None, **card):
    """Return a builder of `datasets` for text files of the hub at these paths."""
    import datasets
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules.csv.csv import CsvConfig

    files = {}
    for name in paths:
        url = name if "://" in name else f"hf://datasets/owner/name@0a1b/{name}"
        split = next((split for split in ("test", "unsupervised") if split in name), "train")
        files.setdefault(split, DataFilesList([], [])).append(url)
    config = CsvConfig(data_files=DataFilesDict(files), **card)
    return SimpleNamespace(config=config, info=datasets.DatasetInfo(features=features))


def make_http_error(status):
    """Return what the hub's client raises for an answer with this status."""
    from huggingface_hub.errors import HfHubHTTPError

    error = HfHubHTTPError.__new__(HfHubHTTPError)
    error.response = SimpleNamespace(status_code=status)
    return error


def make_timeout():
    """Return an error of the HTTP library that is no OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    [root] = set(HfHubHTTPError.__bases__) - {OSError}
    return type("ReadTimeout", (root,), {})("timed out")


class TestHub:
    @pytest.fixture
    def load(self, monkeypatch):
        """Replace the hub by what a test passes: a `DatasetDict` or an error."""
        import datasets

        from sentiment.training.data import hub

        def replace(answer):
            def answer_it(*_, **__):
                if isinstance(answer, Exception):
                    raise answer
                return answer

            monkeypatch.setattr(hub, "is_hub_reachable", lambda: True)
            monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
            monkeypatch.setattr(datasets, "load_dataset_builder", answer_it)
            monkeypatch.setattr(datasets, "load_dataset", answer_it)
            if isinstance(answer, datasets.DatasetDict):
                monkeypatch.setattr(datasets.DatasetDict, "config", object(), raising=False)
                info = datasets.DatasetInfo(builder_name="parquet")
                monkeypatch.setattr(datasets.DatasetDict, "info", info, raising=False)

        return replace

    @pytest.fixture
    def serve(self, load, tmp_path, monkeypatch):
        """Replace the hub by one with a data set of these text files; return its locations."""
        import huggingface_hub

        def serve(files, options=None, /, **card):
            def download(repository, path, repo_type, revision):
                assert (repository, repo_type, revision) == ("owner/name", "dataset", "0a1b")
                (tmp_path / path).write_bytes(files[path])
                return str(tmp_path / path)

            monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
            load(make_builder(files, **card))
            return find_locations("owner/name", options or ReadOptions()).by_split

        return serve

    def test_csv_is_read_as_csv_files_are(self, serve):
        """As pandas reads them, 007 is 7, and N/A and None are null."""
        found = serve(
            {
                "train-0.csv": b'text,label,id\nN/A,1,007\nNone,0,1e5\n"say \\"hi\\"",1,0x1\n',
                "train-1.csv": b"text,label,id\n\\N,0,1.0\n",
                "test.jsonl": b'{"text": "2019-01-01", "label": 1}\n',
            },
        )
        read = {
            split: [batch for place in places for batch in place.open().read(["text"])]
            for split, places in found.items()
        }
        assert read == {
            "train": [{"text": ["N/A", "None", 'say "hi"']}, {"text": [None]}],
            "test": [{"text": ["2019-01-01"]}],
        }
        [batch] = found["train"][0].open().read(["id"])
        assert batch == {"id": ["007", "1e5", "0x1"]}

    def test_rows_that_do_not_fit_the_header_are_refused(self, serve):
        [place] = serve({"train.csv": b"text,label\nGood, works,1\n"})["train"]
        with pytest.raises(UnreadableFileError, match="line 2: expected 2 values"):
            place.open()

    def test_what_the_card_states_about_csv_files_counts(self, serve):
        import datasets

        label = datasets.ClassLabel(names=["p", "n"])
        features = datasets.Features({"text": datasets.Value("string"), "label": label})
        card = {"sep": ";", "names": ["text", "label"], "encoding": "cp1252", "features": features}
        [place] = serve({"train.csv": "déjà;1\n".encode("cp1252")}, **card)["train"]
        source = place.open()
        assert list(source.read(["text", "label"])) == [{"text": ["déjà"], "label": ["1"]}]
        assert source.class_names == {"label": ("p", "n")}

    def test_given_options_win_over_the_card(self, serve):
        [place] = serve({"train.csv": b"text|label\na;b|1\n"}, ReadOptions(delimiter="|"), sep=";")["train"]
        assert place.open().columns == ("text", "label")

    @pytest.mark.parametrize(
        "card", [{"skiprows": 1}, {"escapechar": "!"}, {"encoding": "klingon"}, {"header": None}]
    )
    def test_a_card_that_cannot_be_followed_is_an_error(self, serve, card):
        with pytest.raises(UnreadableFileError, match=f"states {next(iter(card))} for its text"):
            serve({"train.csv": b"text,label\na,1\n"}, **card)

    def test_files_of_other_splits_are_not_fetched(self, serve, tmp_path):
        assert list(serve({"train.csv": b"text,label\na,1\n", "unsupervised.csv": b"text\na\n"})) == ["train"]
        assert not (tmp_path / "unsupervised.csv").exists()
        assert find_locations("owner/name", ReadOptions()).unused == {
            "owner/name, split unsupervised": "another split"
        }

    @pytest.mark.parametrize(
        ("error", "kind", "says"),
        [
            (
                OSError(errno.ENOSPC, "No space left on device"),
                ConfigError,
                "there is no room .* set HF_HOME",
            ),
            (make_http_error(401), MissingInputError, "does not let you read it .* `hf auth login`"),
            (make_http_error(403), MissingInputError, "does not let you read it .* `hf auth login`"),
            (make_http_error(404), MissingInputError, r"its file train\.csv .* failed .*; run again, or run"),
            (make_http_error(503), MissingInputError, "fetching it .* failed .*; check the network"),
            (make_timeout(), MissingInputError, "fetching it .* failed .*; check the network"),
            (ConnectionError(), MissingInputError, "fetching it .* failed .*; check the network"),
            (RuntimeError("xet"), MissingInputError, r"its file train\.csv .* failed \(RuntimeError\); run"),
        ],
    )
    def test_each_cause_of_a_failed_download_has_its_message(self, load, monkeypatch, error, kind, says):
        import huggingface_hub

        def fail(*_, **__):
            raise error

        load(make_builder(["train.csv"]))
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(kind, match=says):
            find_locations("owner/name", ReadOptions())

    def test_text_files_offline_need_a_folder(self, load, monkeypatch):
        import datasets

        load(ConnectionError("Couldn't reach 'owner/name' on the Hub (OfflineModeIsEnabled)"))
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        with pytest.raises(
            MissingInputError, match="HF_HUB_OFFLINE is set.* `hf download owner/name .*FOLDER"
        ):
            find_locations("owner/name:books", ReadOptions())

    def test_a_file_outside_the_hub_is_an_error(self, load):
        load(make_builder(["https://host/train.csv"]))
        with pytest.raises(MissingInputError, match="names a file outside the hub"):
            find_locations("owner/name", ReadOptions())

    @pytest.mark.parametrize("kind", ["csv", "json", "text"])
    def test_text_files_that_datasets_read_in_an_earlier_run_are_not_used(self, load, monkeypatch, kind):
        import datasets

        load(datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"], "label": [1]})}))
        assert find_locations("owner/name", ReadOptions()).by_split  # Parquet files
        monkeypatch.setattr(datasets.DatasetDict, "info", datasets.DatasetInfo(builder_name=kind))
        with pytest.raises(MissingInputError, match="as `datasets` read .* `hf download owner/name"):
            find_locations("owner/name", ReadOptions())

    def test_tables_follow_no_options_of_text_files(self, load):
        import datasets

        load(datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"], "label": [1]})}))
        with pytest.raises(ConfigError, match="encoding: only for .*, found owner/name, split train; leave"):
            find_locations("owner/name", ReadOptions(encoding="utf-8"))

    def test_splits_of_other_names_are_named(self, load):
        import datasets

        rows = datasets.Dataset.from_dict({"text": ["a"], "label": [1]})
        load(datasets.DatasetDict({"train": rows, "dev": rows, "unsupervised": rows}))
        found = find_locations("owner/name", ReadOptions())
        assert list(found.by_split) == ["train", "validation"]
        assert found.unused == {"owner/name, split unsupervised": "another split"}

    def test_a_split_of_the_very_name_wins_and_two_others_are_ambiguous(self, load):
        import datasets

        rows = datasets.Dataset.from_dict({"text": ["a"], "label": [1]})
        load(datasets.DatasetDict({"train_small": rows, "train": rows}))
        assert find_locations("owner/name", ReadOptions()).by_split["train"][0].name.endswith("split train")
        load(datasets.DatasetDict({"train_sft": rows, "train_gen": rows}))
        with pytest.raises(AmbiguousInputError, match="the splits train_sft, train_gen.* can be 'train'"):
            find_locations("owner/name", ReadOptions())

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (RuntimeError("Dataset scripts are no longer supported"), "loading script"),
            (ValueError("Config name is missing"), "owner/name:NAME"),
            (OSError(), "loading it from the hub failed"),
            (make_timeout(), "fetching it from the hub failed .*; check the network"),
        ],
    )
    def test_each_cause_has_its_message(self, load, error, says):
        load(error)
        with pytest.raises(MissingInputError, match=says):
            find_locations("owner/name", ReadOptions())

    def test_a_full_disk_is_named_also_while_tables_are_written(self, load):
        from datasets.exceptions import DatasetGenerationError

        error = DatasetGenerationError("An error occurred while generating the dataset")
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
        load(error)
        with pytest.raises(ConfigError, match="no room for its files"):
            find_locations("owner/name", ReadOptions())

    def test_an_error_while_tables_are_fetched_is_no_loading_script(self, load, monkeypatch):
        import datasets

        def fail(*_, **__):
            raise RuntimeError("xet")

        load(datasets.DatasetDict())
        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(MissingInputError, match=r"loading it from the hub failed \(RuntimeError\)"):
            find_locations("owner/name", ReadOptions())

    def test_files_that_disagree(self, load):
        from datasets.exceptions import DatasetGenerationError

        load(DatasetGenerationError("columns"))
        with pytest.raises(UnreadableFileError, match="differ in their columns"):
            find_locations("owner/name", ReadOptions())

    def test_a_hub_that_does_not_answer_is_named_with_the_way_out(self, monkeypatch):
        import datasets

        from sentiment.training.data import hub

        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "is_hub_reachable", lambda: False)
        with pytest.raises(MissingInputError, match="the hub does not answer.*--dataset_name sample"):
            find_locations("fancyzhx/amazon_polarity", ReadOptions())
