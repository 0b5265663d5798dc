import re

import pytest
import yaml

from sentiment.config import (
    AdaptConfig,
    AdoptConfig,
    FinetuneConfig,
    GatesConfig,
    NightlyConfig,
    PromoteConfig,
    ScoreConfig,
    ServeConfig,
    config_fields,
    load_config,
)
from sentiment.errors import ConfigError
from tests.factories import ROOT

CONF = {
    "adapt.yaml": AdaptConfig,
    "adopt.yaml": AdoptConfig,
    "demo.yaml": FinetuneConfig,
    "finetune-gpu.yaml": FinetuneConfig,
    "finetune-small.yaml": FinetuneConfig,
    "finetune.yaml": FinetuneConfig,
    "gates.yaml": GatesConfig,
    "nightly.yaml": NightlyConfig,
    "promote.yaml": PromoteConfig,
    "score.yaml": ScoreConfig,
    "serve.yaml": ServeConfig,
}
NEEDED = {
    AdaptConfig: {"input": "in", "output": "out"},
    AdoptConfig: {"model": "any"},
    NightlyConfig: {"input": "in", "output": "out"},
    PromoteConfig: {"rollback": True},
    ScoreConfig: {"input": "in", "output": "out"},
}


def write(tmp_path, content):
    path = tmp_path / "job.yaml"
    path.write_text(content)
    return path


def test_arguments_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = write(tmp_path, "lr: 1.0e-4\nepochs: 5\n")
    config = load_config(FinetuneConfig, path, {"lr": "3e-5", "epochs": None})
    assert (config.lr, config.epochs, config.seed) == (3e-5, 5, 42)


def test_a_number_that_yaml_reads_as_text_is_a_number(tmp_path):
    assert load_config(FinetuneConfig, write(tmp_path, "lr: 2e-5\n"), {}).lr == 2e-5


def test_an_empty_file_means_defaults(tmp_path):
    assert load_config(FinetuneConfig, write(tmp_path, "# nothing\n"), {}) == FinetuneConfig()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("learning_rate: 1\n", "unknown key 'learning_rate'.*known: lr, epochs"),
        ("lr: -1\n", "lr: .*greater than 0.*found -1"),
        ("epochs: many\n", "epochs: .*found 'many'"),
        ("- lr\n", "expected lines of `key: value`, found a list"),
        ("lr: [1\n", "line 2: not valid YAML"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, content, says):
    path = write(tmp_path, content)
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(FinetuneConfig, path, {})
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read config"):
        load_config(FinetuneConfig, tmp_path / "none.yaml", {})


def test_a_missing_value_names_its_argument():
    with pytest.raises(ConfigError, match="input is required: pass --input"):
        load_config(ScoreConfig, None, {"output": "scores"})


def test_the_original_templates_arguments_are_all_there():
    original = {
        *("lr", "epochs", "train_batch_size", "eval_batch_size"),
        *("dataset_name", "text_col", "label_col", "distilbert_model"),
    }
    assert original <= {field.name for field in config_fields(FinetuneConfig)}


@pytest.mark.parametrize(
    "options",
    [
        {"alias": "latest"},
        {"alias": "v1"},
        {"alias": "a" * 256},
        {"registered_model_name": "a/b"},
        {"registered_model_name": "a" * 257},
        {"experiment": "a" * 501},
    ],
)
def test_names_that_the_registry_would_refuse_are_refused_before_training(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        load_config(FinetuneConfig, None, options)


@pytest.mark.parametrize(
    ("job", "needed"), [(FinetuneConfig, {}), (AdaptConfig, {"input": "a", "output": "b"})]
)
def test_a_seed_that_numpy_cannot_take_is_refused(job, needed):
    with pytest.raises(ConfigError, match="seed: Input should be less than 2147483648"):
        load_config(job, None, {**needed, "seed": 2**32})
    with pytest.raises(ConfigError, match="experiment"):
        load_config(job, None, {**needed, "experiment": " "})


@pytest.mark.parametrize("key", ["epochs", "lr", "weight_decay"])
def test_a_number_without_end_is_refused(key):
    with pytest.raises(ConfigError, match=f"{key}: Input should be a finite number"):
        load_config(FinetuneConfig, None, {key: "inf"})


def test_each_file_in_conf_is_of_a_known_job():
    assert {path.name for path in (ROOT / "conf").iterdir()} == set(CONF)


@pytest.mark.parametrize("name", CONF)
def test_a_file_in_conf_repeats_no_default(name):
    """A default that changes in code would be masked by one that is written there too."""
    given = yaml.safe_load((ROOT / "conf" / name).read_text()) or {}
    needed = NEEDED.get(CONF[name], {})
    config = load_config(CONF[name], ROOT / "conf" / name, needed)
    defaults = {field.name: field.default for field in config_fields(CONF[name])}
    assert [key for key in given if getattr(config, key) == defaults[key]] == []


def test_every_engine_that_a_model_knows_can_be_asked_for():
    from sentiment.inference.engines import ENGINES

    for engine in ENGINES:
        assert ScoreConfig(input="a", output="b", engine=engine).engine == engine


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("registered_model_name", name)
            for name in ("", " ", "a/b", "a:b", "a@b", "a.b", "a?b", "a#b", " a")
        ),
        *(("alias", name) for name in ("", "it's", "two words", "100%", "latest", "v1", "1st")),
        *(("experiment", name) for name in ("", "  ")),
    ],
)
def test_names_that_mlflow_or_a_uri_would_misread_are_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        load_config(FinetuneConfig, None, {key: value})


@pytest.mark.parametrize("date", ["2026-02-30", "2026-01-02..2026-01-01", "2026-01-01..", "1..2..3", "today"])
def test_dates_that_are_none_are_refused(date):
    with pytest.raises(ConfigError, match="date"):
        load_config(NightlyConfig, None, {"input": "in", "output": "out", "date_col": "day", "date": date})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"date": "2026-01-01..2026-01-02"}, "needs a date column"),
        ({"date": "2026-01-01", "date_col": "day", "since": "2026-01-01"}, "neither since nor until"),
        ({"dry_run": "true"}, "jobs/score_reviews.py --dry_run"),
    ],
)
def test_nights_that_contradict_themselves_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        load_config(NightlyConfig, None, {"input": "in", "output": "out", **options})


def test_a_label_map_may_wait_for_late_labels():
    """A config file has it also for the nights without labels."""
    options = {"input": "in", "output": "out", "label_map": "1=a"}
    assert load_config(NightlyConfig, None, options).labels is None


@pytest.mark.parametrize(
    ("config_class", "arguments", "expected"),
    [
        (
            AdoptConfig,
            {"encoding": "utf-8"},
            "encoding: only for the file of the reviews; pass --reviews too",
        ),
        (FinetuneConfig, {"alias": "latest"}, "alias: MLflow reserves this name, found 'latest'"),
    ],
)
def test_an_error_is_a_sentence_that_names_the_option(config_class, arguments, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(config_class, None, {**NEEDED.get(config_class, {}), **arguments})
    assert re.fullmatch(expected, str(caught.value))
