"""An encoder is adapted to unlabelled reviews: the job, its counts, its errors, and a run that was killed."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file

from jobs.adapt import HOME, run, show
from sentiment import schema
from sentiment.cli import run_job
from sentiment.config import AdaptConfig, FinetuneConfig
from sentiment.errors import (
    ConfigError,
    DivergedError,
    EmptyInputError,
    EncoderUnavailableError,
    MissingInputError,
    SchemaMismatchError,
    StoreLockedError,
    UnreadableFileError,
)
from sentiment.models import registry
from sentiment.training import masked_lm
from sentiment.training.adaptation import SUMMARY_FILE, adapt, clean_texts, working_folder
from sentiment.training.encoders import load_encoder, load_language_model
from sentiment.training.masked_lm import Task, make_mask, pack_texts, train_head
from sentiment.training.run_log import RunLog
from sentiment.training.trainer import finetune_encoder
from sentiment.training.unlabelled import DUPLICATE, drop_unusable, read_texts
from tests.factories import (
    CANARY,
    VOCABULARY,
    keep_folder,
    make_reviews,
    make_splits,
    make_tiny_encoder,
    using_store,
)

pytestmark = pytest.mark.slow

WORDS = VOCABULARY[5:]


class KilledError(BaseException):
    """Stand for kill -9: nothing that handles errors handles it."""


def quiet(*_):
    pass


def make_texts(n):
    """Return reviews of one repeated word each, which an encoder can learn to predict from the others."""
    return [f"{WORDS[i % len(WORDS)]} " * (5 + i % 19) + str(i) for i in range(n)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute on one thread, which is faster for tiny models."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_encoder(tmp_path_factory.mktemp("base"), initializer_range=0.05)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with using_store(f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"):
        yield


@pytest.fixture
def config(tmp_path, base, store, monkeypatch):
    monkeypatch.setattr(masked_lm, "HEAD_STEPS", 20)
    pd.DataFrame({"text": make_texts(200)}).to_parquet(tmp_path / "reviews.parquet")
    return AdaptConfig(
        input=str(tmp_path / "reviews.parquet"),
        output=str(tmp_path / "adapted"),
        distilbert_model=str(base),
        max_length=32,
        lr=3e-3,
        epochs=2,
        train_batch_size=8,
    )


def load_weights(folder):
    return load_file(f"{folder}/model.safetensors")


def stop_at(step):
    def progress(stage, done, total, note):
        if stage == "adapting" and done == step:
            raise KilledError

    return progress


def test_the_job_writes_an_encoder_that_finetune_takes(tmp_path, base, store, capsys):
    texts = [*make_texts(300), CANARY, CANARY, None, "  "]
    pd.DataFrame({"body": texts}).to_json(tmp_path / "reviews.jsonl", orient="records", lines=True)
    output, summary_file = tmp_path / "adapted", tmp_path / "summary.json"
    values = {
        "input": tmp_path / "reviews.jsonl",
        "text_col": "body",
        "output": output,
        "distilbert_model": base,
        "max_length": 32,
        "lr": 3e-3,
        "epochs": 3,
        "train_batch_size": 4,
        "summary": summary_file,
    }
    argv = [str(word) for name, value in values.items() for word in (f"--{name}", value)]
    assert run_job(AdaptConfig, HOME / "conf" / "adapt.yaml", run, show, argv) == 0
    summary = json.loads(summary_file.read_text())
    assert not summary["had_head"]
    assert summary["perplexity_after"] < 0.7 * summary["perplexity_before"]
    assert "license: unknown" in (output / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    artifacts = registry.import_mlflow().MlflowClient()
    found = artifacts.search_runs(["1"])[0]  # the last one
    names = {item.path for item in artifacts.list_artifacts(found.info.run_id)}
    assert {"encoder", "learning_curve.png"} <= names
    assert found.data.metrics["perplexity_after"] == pytest.approx(summary["perplexity_after"])
    written = "".join(capsys.readouterr()) + summary_file.read_text() + json.dumps(found.data.to_dictionary())
    assert CANARY not in written

    reviews = make_reviews(80)[["text", "label"]]
    tuned = FinetuneConfig(distilbert_model=str(output), max_length=32, epochs=1)
    splits = make_splits(reviews[:60], reviews[60:], reviews[60:])
    history = finetune_encoder(load_encoder(str(output), 32, 1), splits, tuned, quiet, quiet)
    assert any("eval_f1" in row for row in history)


def test_the_pooler_of_the_base_and_the_new_weights_are_in_the_folder(config, base):
    adapt(replace(config, epochs=1), quiet)
    before, after = load_weights(base), load_weights(config.output)
    loaded = load_encoder(config.output, 32, 1).model.state_dict()
    for name in ("bert.pooler.dense.weight", "bert.encoder.layer.0.output.dense.weight"):
        assert loaded[name].equal(after[name])
    assert after["bert.pooler.dense.weight"].equal(before["bert.pooler.dense.weight"])
    assert not after["bert.encoder.layer.0.output.dense.weight"].equal(
        before["bert.encoder.layer.0.output.dense.weight"]
    )


def test_a_new_head_is_trained_while_the_encoder_is_frozen(config, base, tmp_path):
    encoder = load_language_model(str(base), 32, 1)
    body = {name: value.clone() for name, value in encoder.model.base_model.state_dict().items()}
    head = encoder.model.cls.predictions.transform.dense.weight.clone()
    texts = Dataset.from_dict({"text": ["good battery"] * 200})
    train, _ = pack_texts(texts, encoder.tokenizer, 32, False, tmp_path / "train.arrow")
    train_head(Task(encoder, train, train, make_mask(encoder.tokenizer, config), config, tmp_path / "head"))
    after = encoder.model.base_model.state_dict()
    assert [name for name in body if not body[name].equal(after[name])] == []
    assert not encoder.model.cls.predictions.transform.dense.weight.equal(head)
    favourites = encoder.model.get_output_embeddings().bias.topk(3).indices
    assert set(encoder.tokenizer.decode(favourites).split()) == {"good", "battery", "[SEP]"}
    assert all(weights.requires_grad for weights in encoder.model.parameters())


def test_an_adapted_encoder_has_a_head_and_can_be_adapted_again(config, tmp_path):
    first = adapt(config, quiet)
    again = replace(config, distilbert_model=config.output, output=str(tmp_path / "again"), epochs=1)
    second = adapt(again, quiet)
    assert second.had_head
    assert second.loss_before == pytest.approx(first.loss_after, abs=1e-4)


def test_the_seed_decides_the_weights(config, tmp_path):
    outputs = [str(tmp_path / name) for name in "abc"]
    for output, seed in zip(outputs, (1, 1, 2), strict=True):
        adapt(replace(config, output=output, seed=seed, epochs=0.2), quiet)
    a, b, c = (load_weights(output)["bert.embeddings.word_embeddings.weight"] for output in outputs)
    assert a.equal(b)
    assert not a.equal(c)


@pytest.mark.reliability
def test_a_killed_run_goes_on_and_gives_the_same_weights(config, tmp_path):
    config = replace(config, whole_words=True)
    whole = adapt(replace(config, output=str(tmp_path / "whole")), quiet)
    with pytest.raises(KilledError):
        adapt(config, stop_at(whole.planned_steps // 2))
    checkpoints = tmp_path / ".adapted.adapting" / "checkpoints"
    assert 1 <= len(list(checkpoints.iterdir())) <= 2
    (checkpoints / "checkpoint-9999").mkdir()  # a checkpoint that was being written
    resumed = adapt(config, quiet)
    assert 0 < resumed.resumed_from_step <= whole.planned_steps // 2
    assert resumed.loss_before == whole.loss_before
    expected, found = load_weights(tmp_path / "whole"), load_weights(config.output)
    assert [name for name in expected if not expected[name].equal(found[name])] == []


@pytest.mark.reliability
def test_a_killed_run_with_other_settings_is_discarded_and_said(config):
    with pytest.raises(KilledError):
        adapt(config, stop_at(10))
    summary = adapt(replace(config, lr=1e-3, epochs=1), quiet)
    assert summary.resumed_from_step == 0
    assert "other settings, reviews, weights or code was discarded" in summary.warnings[0]


def test_a_killed_run_from_other_weights_is_discarded_and_said(config, tmp_path):
    base = shutil.copytree(config.distilbert_model, tmp_path / "base")
    config = replace(config, distilbert_model=str(base))
    with pytest.raises(KilledError):
        adapt(config, stop_at(10))
    weights = {name: 2 * tensor for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    summary = adapt(config, quiet)
    assert summary.resumed_from_step == 0
    assert "weights or code was discarded" in summary.warnings[0]


def test_entries_that_the_server_did_not_take_are_said(config, monkeypatch):
    monkeypatch.setattr(RunLog, "notes", ("9 entries of the MLflow run are lost",))
    assert "9 entries of the MLflow run are lost" in adapt(replace(config, minutes=1e-6), quiet).warnings


def test_the_time_ends_a_run_cleanly(config):
    summary = adapt(replace(config, minutes=1e-6), quiet)
    assert (summary.steps, summary.stopped) == (1, "time")
    assert "time ran out after 1 of" in summary.warnings[-1]
    assert load_encoder(config.output, 32, 1)


def test_a_loss_that_does_not_fall_ends_the_run_and_is_said(config):
    summary = adapt(replace(config, lr=1e-30), quiet)
    assert (summary.stopped, summary.best_step) == ("early", summary.steps // 3)
    assert "did not fall" in summary.warnings[0]


def test_a_training_that_diverges_publishes_nothing(config, tmp_path):
    """The loss of weights that are not numbers was taken for 0, the lowest of all."""
    with pytest.raises(
        DivergedError, match=r"a finite loss after step \d+ of \d+, found nan; pass a smaller"
    ):
        adapt(replace(config, lr=1e9), quiet)
    assert not (tmp_path / "adapted").exists()


def test_an_encoder_with_damaged_weights_is_refused_before_it_is_adapted(config, base, tmp_path):
    shutil.copytree(base, tmp_path / "damaged")
    weights = load_weights(base)
    weights["bert.encoder.layer.0.output.dense.bias"][0] = float("nan")
    save_file(weights, tmp_path / "damaged" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderUnavailableError, match="its weights are damaged: 1 tensors"):
        adapt(replace(config, distilbert_model=str(tmp_path / "damaged")), quiet)


def test_weights_that_do_not_fit_the_config_are_not_adapted(config, base, tmp_path):
    """Random layers were trained and published, and nothing was said."""
    given = replace(config, distilbert_model=str(tmp_path / "given"))
    shutil.copytree(base, given.distilbert_model)
    file = tmp_path / "given" / "config.json"
    stated = json.loads(file.read_text())
    file.write_text(json.dumps({**stated, "num_hidden_layers": 4}))
    with pytest.raises(EncoderUnavailableError, match="do not fit its config.json: 32 tensors"):
        adapt(given, quiet)
    file.write_text(json.dumps(stated))
    weights = {f"module.{name}": values for name, values in load_weights(base).items()}
    save_file(weights, tmp_path / "given" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderUnavailableError, match="do not fit its config.json: 37 tensors"):
        adapt(given, quiet)


def test_layers_that_the_config_lacks_are_in_the_warnings(config, base, tmp_path):
    shutil.copytree(base, tmp_path / "cut")
    file = tmp_path / "cut" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": 1}))
    summary = adapt(replace(config, distilbert_model=str(tmp_path / "cut"), epochs=1), quiet)
    assert "16 tensors of" in summary.warnings[0]


def test_held_out_tokens_of_which_none_is_masked_measure_nothing(config):
    with pytest.raises(EmptyInputError, match="none of the tokens of .* is masked"):
        adapt(replace(config, masked_share=1e-9), quiet)


def test_the_counts_add_up(config, tmp_path):
    texts = ["good", "bad", "good", None, " ", "x" * 1_000_001, *make_texts(20)]
    pd.DataFrame({"text": texts}).to_json(tmp_path / "reviews.jsonl", orient="records", lines=True)
    read, _ = read_texts(str(tmp_path / "reviews.jsonl"), "text", tmp_path / "cache")
    found = clean_texts(read, replace(config, max_train_samples=15, held_out_share=0.2), tmp_path / "cache")
    counts = found.counts
    assert counts.dropped[DUPLICATE] == 1
    assert counts.dropped[schema.TOO_LONG_TEXT] == 1
    assert sum(counts.dropped.values()) == 4
    assert (counts.train_rows, counts.held_out_rows, counts.not_sampled) == (12, 3, 7)
    assert counts.read_rows == 26 == 4 + 12 + 3 + 7
    assert set(found.train["text"]).isdisjoint(found.held_out["text"])


def test_sequences_are_full_and_hold_all_reviews_in_order(base, tmp_path):
    tokenizer = load_language_model(str(base), 32, 1).tokenizer
    packed, unused = pack_texts(
        Dataset.from_dict({"text": ["good bad", "the battery is very good"] * 30}),
        tokenizer,
        16,
        True,
        tmp_path / "packed.arrow",
    )
    rows = packed["input_ids"]
    assert {len(row) for row in rows} == {16}
    assert {(row[0], row[-1]) for row in rows} == {(tokenizer.cls_token_id, tokenizer.sep_token_id)}
    stream = [token for row in rows for token in row[1:-1]]
    words = tokenizer.decode(stream[:9])
    assert words == "good bad [SEP] the battery is very good [SEP]"
    assert len(stream) + unused == 30 * 9
    assert {len(row) for row in packed["offset_mapping"]} == {16}


def test_a_word_is_masked_as_a_whole(base, config):
    tokenizer = load_language_model(str(base), 32, 1).tokenizer
    good, bad = tokenizer.convert_tokens_to_ids(["good", "bad"])
    ids = torch.tensor([[2, *[good, bad] * 7, 3]])
    # Words of two tokens: the second begins where the first ends.
    offsets = torch.tensor([[(0, 0), *[(3 * i - i % 2, 3 * i + 2) for i in range(14)], (0, 0)]])
    torch.manual_seed(1)
    _, labels = make_mask(tokenizer, replace(config, whole_words=True, masked_share=0.5))(ids, offsets)
    is_masked = labels[0, 1:-1].reshape(7, 2) != -100
    assert is_masked.any()
    assert not is_masked.all()
    assert is_masked[:, 0].equal(is_masked[:, 1])


@pytest.mark.parametrize(("kind", "message"), [("gpt2", "found gpt2"), ("electra", "a discriminator")])
def test_an_encoder_that_cannot_predict_masked_tokens_is_refused(tmp_path, kind, message):
    from transformers import AutoModel, ElectraConfig, ElectraForPreTraining, GPT2Config

    make_tiny_encoder(tmp_path)
    if kind == "gpt2":
        AutoModel.from_config(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=30)).save_pretrained(
            tmp_path
        )
    else:
        small = ElectraConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=30)
        ElectraForPreTraining(small).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_language_model(str(tmp_path), 32, 1)


def test_a_tokenizer_that_cannot_hide_a_token_is_refused(tmp_path):
    make_tiny_encoder(tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    content["mask_token"] = None
    settings.write_text(json.dumps(content))
    with pytest.raises(EncoderUnavailableError, match="its tokenizer has no mask_token, which"):
        load_language_model(str(tmp_path), 32, 0)


@pytest.mark.parametrize("family", ["DistilBert", "Roberta"])
def test_another_architecture_of_the_family_is_adapted(config, tmp_path, family):
    import transformers

    folder = make_tiny_encoder(tmp_path / family)
    sizes = {
        "DistilBert": {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2},
        "Roberta": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "pad_token_id": 0},
    }[family] | {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64}
    if family == "Roberta":
        sizes["num_attention_heads"] = 2
    kind = getattr(transformers, f"{family}Config")(**sizes)
    getattr(transformers, f"{family}ForMaskedLM")(kind).save_pretrained(folder)
    summary = adapt(replace(config, distilbert_model=str(folder), epochs=2), quiet)
    assert summary.had_head
    assert summary.loss_after < summary.loss_before
    assert load_encoder(config.output, 32, 1).model.config.model_type == family.lower()


def test_minilm_has_no_head_and_its_output_layer_is_the_embeddings():
    encoder = load_language_model("minilm", 128, 1)
    assert encoder.has_new_head
    model = encoder.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_more_tokens_than_the_encoder_reads_is_a_config_error(config):
    with pytest.raises(ConfigError, match="reads at most 64"):
        adapt(replace(config, max_length=65), quiet)


def test_an_output_that_the_job_did_not_write_is_refused_and_kept(config, tmp_path):
    (tmp_path / "adapted").mkdir()
    (tmp_path / "adapted" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="this job did not write it"):
        adapt(config, quiet)
    assert (tmp_path / "adapted" / "mine.txt").read_text() == "mine"


def test_an_earlier_result_is_replaced(config, tmp_path):
    for seed in (1, 2):
        adapt(replace(config, seed=seed, epochs=0.1), quiet)
    assert "| seed | 2 |" in (tmp_path / "adapted" / "README.md").read_text()
    assert (tmp_path / "adapted" / SUMMARY_FILE).is_file()


def test_an_output_inside_of_the_input_is_refused(config, tmp_path):
    given = replace(config, input=str(tmp_path), output=str(tmp_path / "adapted"))
    with pytest.raises(ConfigError, match="adapted is inside of the input .* would read it as reviews"):
        adapt(given, quiet)


@pytest.mark.parametrize("given", ["earlier/reviews.parquet", "earlier", "link/reviews.parquet"])
def test_an_input_inside_of_an_earlier_result_is_refused_and_kept(config, tmp_path, given):
    """The result replaced the folder, and the reviews in it were deleted."""
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / SUMMARY_FILE).touch()
    (tmp_path / "reviews.parquet").rename(earlier / "reviews.parquet")
    (tmp_path / "link").symlink_to(earlier)
    given = replace(config, input=str(tmp_path / given), output=str(earlier))
    with pytest.raises(ConfigError, match="input: .* is inside of the output .*; pass another --output"):
        adapt(given, quiet)
    assert (earlier / "reviews.parquet").is_file()


def test_a_working_folder_that_cannot_be_removed_costs_no_success(config, tmp_path, monkeypatch):
    """The encoder was published, and then the run ended with an error and without a summary."""
    keep_folder(monkeypatch, tmp_path / ".adapted.adapting")
    summary = adapt(replace(config, epochs=0.1), quiet)
    warning = f"{tmp_path / '.adapted.adapting'}: the work is done, but this folder could not be removed"
    assert warning in summary.warnings[-1]
    assert (tmp_path / "adapted" / SUMMARY_FILE).is_file()
    assert not (tmp_path / ".adapted.lock").exists()


def test_a_working_folder_that_cannot_be_removed_hides_no_error(tmp_path, monkeypatch, caplog):
    keep_folder(monkeypatch, tmp_path / ".adapted.adapting")
    with pytest.raises(KilledError), working_folder(tmp_path / "adapted", []):
        raise KilledError
    assert ".adapted.adapting: could not be removed (Directory not empty)" in caplog.text


def test_an_output_that_is_a_link_stays_one(config, tmp_path):
    """The link was replaced by a folder on its own disk."""
    (tmp_path / "adapted").symlink_to(tmp_path / "disk")
    adapt(replace(config, epochs=0.1), quiet)
    assert (tmp_path / "adapted").is_symlink()
    assert (tmp_path / "disk" / SUMMARY_FILE).is_file()


def test_several_processes_cannot_adapt(config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="adapt: found 2 processes"):
        adapt(config, quiet)


def test_a_second_run_on_the_same_output_is_refused(config):
    def progress(stage, done, total, note):
        if stage == "adapting":
            adapt(config, quiet)

    with pytest.raises(StoreLockedError, match="another run adapts"):
        adapt(config, progress)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, MissingInputError, "no reviews at"),
        ({"text": [None, " "]}, EmptyInputError, "0 of 2 rows.*null_text"),
        ({"text": ["good", "bad"]}, EmptyInputError, "0 training and 0 held-out sequences"),
        ({"body": ["good"]}, SchemaMismatchError, "no column text; found body"),
        ({"text": [1, 2]}, SchemaMismatchError, "expected strings"),
        (b"PAR1 not parquet", UnreadableFileError, "cannot be read as Parquet"),
    ],
)
def test_unusable_input_is_an_error(config, tmp_path, content, error, message):
    path = tmp_path / "reviews.parquet"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        pd.DataFrame(content).to_parquet(path)
    with pytest.raises(error, match=message):
        adapt(config, quiet)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_files_of_a_folder_are_joined_and_columns_too(tmp_path):
    pd.DataFrame({"title": ["Good", None], "text": ["a b", "c"], "x": [1, 2]}).to_parquet(
        tmp_path / "a.parquet"
    )
    pd.DataFrame({"text": ["d"], "title": ["Bad"]}).to_csv(tmp_path / "b.csv", index=False)
    (tmp_path / "notes.txt").write_text("not reviews")
    texts, warnings = read_texts(str(tmp_path), "title,text", tmp_path / "cache")
    assert warnings == ["not read: notes.txt (not a data file)"]
    assert texts["text"][:] == ["Good a b", "c", "Bad d"]
    assert texts.cache_files  # memory-mapped


def test_a_text_that_arrow_cannot_hold_is_counted(tmp_path):
    """JSON may have half of a surrogate pair, as where a text was cut off within an emoji."""
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": "cut \\ud83d"}\n')
    texts, _ = read_texts(str(tmp_path), "text", tmp_path / "cache")
    found = drop_unusable(texts, tmp_path / "cache")
    assert (found.texts["text"][:], found.unused) == (["good"], {schema.UNDECODABLE_TEXT: 1})


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
def test_two_text_columns_of_one_name_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    table = pa.table([["good"], ["bad"]], names=["text", "text"])
    if suffix == "csv":
        path.write_text("text,text\ngood,bad\n")
    elif suffix == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
    with pytest.raises(SchemaMismatchError, match="has several columns text; rename all but one"):
        read_texts(str(path), "text", tmp_path / "cache")


def test_values_that_may_have_escapes_are_a_warning(tmp_path):
    (tmp_path / "a.csv").write_text('text\nsay \\"no\\"\n')
    _, (warning,) = read_texts(str(tmp_path), "text", tmp_path / "cache")
    assert "1 with a backslash before a quotation mark" in warning


def test_files_without_rows_are_named_and_do_not_end_the_run(config, tmp_path):
    """Spark writes one for a partition without rows."""
    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "part-0.csv").touch()
    pd.DataFrame({"text": make_texts(200)}).to_csv(folder / "part-1.csv", index=False)
    (folder / "part-2.csv").write_text("text\n")
    summary = adapt(replace(config, input=str(folder), epochs=0.1), quiet)
    assert summary.counts.read_rows == 200
    assert summary.warnings[0] == "not read: part-0.csv (has no rows), part-2.csv (has no rows)"
    (folder / "part-1.csv").write_text("")
    (folder / "part-2.csv").write_text("")
    with pytest.raises(EmptyInputError, match=r"part-2\.csv: has no rows"):
        adapt(replace(config, input=str(folder)), quiet)
