"""Run the recipe from unlabelled reviews to an encoder that is adapted to them, ready to be fine-tuned."""

import contextlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars

from ..cli import Progress, naming_options
from ..config import AdaptConfig
from ..errors import (
    ConfigError,
    EmptyInputError,
    StoreLockedError,
)
from ..models import registry
from ..models.tracking import without_autologging
from ..process.files import explain_left, remove_folder
from ..process.locks import lock_file
from .checkpoints import describe_code, digest_encoder
from .data.reading import make_format
from .encoders import Encoder, load_language_model, load_pooler
from .figures import draw_learning_curve
from .masked_lm import Adaptation, Packed, adapt_encoder, pack_texts
from .processes import count_processes
from .run_log import RunLog, start_run
from .trainer import describe_device
from .unlabelled import drop_unusable, read_texts

# This file in a folder shows that the folder is the result of an adaptation, and may be replaced by another.
SUMMARY_FILE = "adaptation.json"
# Settings that may change between a killed run and the run that goes on with it.
_FREE_SETTINGS = ("output", "minutes", "experiment", "eval_batch_size")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextCounts:
    """Count the rows by use; `dropped` by reason, `not_sampled` by `max_train_samples`."""

    read_rows: int
    dropped: dict[str, int]
    not_sampled: int
    train_rows: int
    held_out_rows: int


@dataclass(frozen=True)
class CleanTexts:
    """Hold the reviews of both splits, their counts, and a digest of all clean texts in order."""

    train: Dataset
    held_out: Dataset
    counts: TextCounts
    digest: str


@dataclass(frozen=True)
class AdaptSummary:
    """Hold the results of a run.

    Losses are means per masked token of the held-out reviews. If the checkpoint had no head, `loss_before` is
    that of the unchanged encoder with a new head that was trained first.
    """

    output: str
    base_model: str
    licence: str
    had_head: bool
    input: str
    text_col: str
    counts: TextCounts
    data_digest: str
    max_length: int
    train_sequences: int
    held_out_sequences: int
    unused_tokens: int
    loss_before: float
    loss_after: float
    perplexity_before: float
    perplexity_after: float
    steps: int
    best_step: int
    planned_steps: int
    stopped: str
    resumed_from_step: int
    device: str
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@without_autologging()
def adapt(config: AdaptConfig, progress: Progress) -> AdaptSummary:
    """Adapt an encoder, log it, and publish it at `config.output`; MLflow tracking must be set up before.

    A killed run leaves its checkpoints next to the output, and the next run with the same settings, reviews
    and first weights goes on from there.
    """
    started = time.monotonic()
    disable_progress_bars()
    # A link stays a link, and the folder it names is replaced.
    output = Path(config.output).resolve()
    check_output(output)
    check_place(output, Path(config.input))
    if count_processes() > 1:
        raise ConfigError(
            f"adapt: found {count_processes()} processes (WORLD_SIZE), expected one; omit torchrun, or unset "
            "the variable"
        )
    progress("reading reviews", 0, 1, config.input)
    encoder = load_language_model(config.distilbert_model, config.max_length, config.seed)
    pooler = load_pooler(encoder)
    left: list[str] = []
    with working_folder(output, left) as work:
        registry.open_experiment(config.experiment, asdict(config))
        with naming_options({"--dataset_name": "--input", "dataset_name:": "input:"}):
            read, unread = read_texts(config.input, config.text_col, work / "data", make_format(config))
        texts = clean_texts(read, config, work / "data")
        facts = (texts.digest, digest_encoder(encoder), *describe_code().values())
        warnings = keep_same_run(work, config, *facts)
        packed = _pack(texts, encoder, config, work / "data")
        with start_run() as log:
            log.log_params(asdict(config) | asdict(texts.counts) | {"data_digest": texts.digest})
            result = adapt_encoder(
                encoder,
                packed,
                config,
                work / "checkpoints",
                progress,
                log.log_metrics,
            )
            summary = _summarise(config, encoder, texts, packed, result)
            warnings = [*encoder.notes, *unread, *warnings, *_list_warnings(result)]
            summary = replace(summary, seconds=time.monotonic() - started, warnings=warnings)
            progress("saving", 0, 1, "")
            save_adapted(encoder, pooler, config, summary, work / "encoder")
            log_results(summary, result, work / "encoder", log)
        summary = replace(summary, warnings=[*summary.warnings, *log.notes])
        publish(work / "encoder", output)
    return replace(summary, warnings=[*summary.warnings, *left])


def log_results(summary: AdaptSummary, result: Adaptation, folder: Path, log: RunLog) -> None:
    """Log the figures, the learning curve and the encoder."""
    names = ("loss_before", "loss_after", "perplexity_before", "perplexity_after", "seconds")
    log.log_metrics({name: getattr(summary, name) for name in names})
    log.log_figure(draw_learning_curve(result.history), "learning_curve.png")
    log.log_artifacts(folder, "encoder")


def clean_texts(texts: Dataset, config: AdaptConfig, cache: Path) -> CleanTexts:
    """Drop and count texts that a model would reject, and duplicates; sample, and hold out reviews.

    Raises EmptyInputError if fewer than two texts are left.
    """
    found = drop_unusable(texts, cache)
    clean = found.texts
    if len(clean) < 2:
        raise EmptyInputError(
            f"{config.input}: {len(clean)} of {len(texts)} rows have a usable text, expected at least 2; "
            f"dropped: {found.unused or 'none'}; check --input and --text_col"
        )
    order = np.random.default_rng(config.seed).permutation(len(clean))[: config.max_train_samples]
    n_held_out = max(1, round(len(order) * config.held_out_share))
    counts = TextCounts(
        read_rows=len(texts),
        dropped=found.unused,
        not_sampled=len(clean) - len(order),
        train_rows=len(order) - n_held_out,
        held_out_rows=n_held_out,
    )
    train, held_out = clean.select(order[n_held_out:]), clean.select(order[:n_held_out])
    return CleanTexts(train, held_out, counts, found.digest)


def check_output(output: Path) -> None:
    """Raise ConfigError if the output exists and is not the result of an adaptation."""
    is_empty = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_empty and not (output / SUMMARY_FILE).is_file():
        raise ConfigError(
            f"output: {output} exists and has no {SUMMARY_FILE}, so this job did not write it; pass another "
            "--output"
        )


def check_place(output: Path, folder: Path) -> None:
    """Raise ConfigError if one of output and input is inside of the other, or both are the same.

    A second run would read an output inside of the input, and the output replaces all that is inside of it.
    """
    place = folder.resolve()
    if place == output or output in place.parents:
        raise ConfigError(
            f"input: {folder} is inside of the output {output}, which the result would replace, reviews "
            "included; pass another --output"
        )
    if folder.is_dir() and place in output.parents:
        raise ConfigError(
            f"output: {output} is inside of the input {folder}, so the next run would read it as reviews; "
            "pass another --output"
        )


@contextlib.contextmanager
def working_folder(output: Path, warnings: list[str]) -> Iterator[Path]:
    """Yield the locked folder next to the output that holds data and checkpoints, and remove it at the end.

    After an error it stays if there are checkpoints, for the next run. `warnings` gets a line if it cannot be
    removed after success. Raises StoreLockedError if another run has it, ConfigError if it cannot be made.
    """
    work = output.parent / f".{output.name}.adapting"
    lock = output.parent / f".{output.name}.lock"
    try:
        work.mkdir(parents=True, exist_ok=True)
        descriptor = lock_file(lock)
    except OSError as error:
        raise ConfigError(
            f"output: cannot write next to {output} ({error.strerror}); pass another --output"
        ) from error
    if descriptor is None:
        raise StoreLockedError(f"another run adapts an encoder at {output}; wait, or pass another --output")
    is_done = False
    try:
        shutil.rmtree(work / "data", ignore_errors=True)
        (work / "data").mkdir()
        yield work
        is_done = True
    finally:
        if is_done or not any(work.glob("checkpoints/checkpoint-*")):
            reason = remove_folder(work)
            if reason is not None and is_done:
                warnings.append(explain_left(work, reason))
            elif reason is not None:  # the error that ends the run has no summary
                _log.warning("%s: could not be removed (%s); remove it by hand", work, reason)
        lock.unlink()
        os.close(descriptor)


def keep_same_run(work: Path, config: AdaptConfig, *facts: str) -> list[str]:
    """Remove the checkpoints of a run with other settings or facts, and return a warning about them."""
    settings = {name: value for name, value in asdict(config).items() if name not in _FREE_SETTINGS}
    expected = json.dumps([settings, *facts], sort_keys=True)
    file, checkpoints = work / "run.json", work / "checkpoints"
    is_same = file.is_file() and file.read_text() == expected
    n_steps = [int(path.name.partition("-")[2]) for path in checkpoints.glob("checkpoint-*")]
    if not is_same:
        shutil.rmtree(checkpoints, ignore_errors=True)
        file.write_text(expected)
    if is_same or not n_steps:
        return []
    return [
        f"a killed run with other settings, reviews, weights or code was discarded ({max(n_steps):,} steps)"
    ]


def _pack(texts: CleanTexts, encoder: Encoder, config: AdaptConfig, cache: Path) -> Packed:
    (train, train_rest), (held_out, held_out_rest) = (
        pack_texts(rows, encoder.tokenizer, config.max_length, config.whole_words, cache / name)
        for rows, name in ((texts.train, "train.arrow"), (texts.held_out, "held_out.arrow"))
    )
    if not len(train) or not len(held_out):
        raise EmptyInputError(
            f"{config.input}: {len(train)} training and {len(held_out)} held-out sequences of "
            f"{config.max_length} tokens, expected at least 1 of each; pass more reviews, or a smaller "
            "--max_length"
        )
    return Packed(train, held_out, train_rest + held_out_rest)


def _list_warnings(result: Adaptation) -> list[str]:
    warnings = []
    if result.loss_after >= result.loss_before:
        warnings.append("the held-out loss did not fall; use the base model, or a smaller --lr")
    if result.stopped == "time":
        reached = f"{result.steps:,} of {result.planned_steps:,} steps"
        warnings.append(
            f"time ran out after {reached}; with fewer --epochs the learning rate reaches its end"
        )
    return warnings


def _summarise(
    config: AdaptConfig, encoder: Encoder, texts: CleanTexts, packed: Packed, result: Adaptation
) -> AdaptSummary:
    return AdaptSummary(
        output=config.output,
        base_model=encoder.name,
        licence=encoder.licence,
        had_head=not encoder.has_new_head,
        input=config.input,
        text_col=config.text_col,
        counts=texts.counts,
        data_digest=texts.digest,
        max_length=config.max_length,
        train_sequences=len(packed.train),
        held_out_sequences=len(packed.held_out),
        unused_tokens=packed.unused_tokens,
        loss_before=result.loss_before,
        loss_after=result.loss_after,
        perplexity_before=math.exp(result.loss_before),
        perplexity_after=math.exp(result.loss_after),
        steps=result.steps,
        best_step=result.best_step,
        planned_steps=result.planned_steps,
        stopped=result.stopped,
        resumed_from_step=result.resumed_from_step,
        device=describe_device(),
    )


def save_adapted(
    encoder: Encoder, pooler: dict[str, Any], config: AdaptConfig, summary: AdaptSummary, folder: Path
) -> None:
    """Write the encoder with its head and the pooler, its tokenizer, a model card and the summary."""
    shutil.rmtree(folder, ignore_errors=True)
    encoder.model.save_pretrained(folder, state_dict=encoder.model.state_dict() | pooler)
    encoder.tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(_write_card(config, summary), encoding="utf-8")
    (folder / SUMMARY_FILE).write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")


def _write_card(config: AdaptConfig, summary: AdaptSummary) -> str:
    counts = summary.counts
    head = "" if summary.had_head else " (it had no head; a new one was trained first)"
    steps = f"{summary.steps:,} of {config.train_batch_size} sequences; the best weights are those of step"
    return f"""---
license: {summary.licence}
base_model: {summary.base_model}
pipeline_tag: fill-mask
---
An encoder adapted to unlabelled reviews by masked-language modelling; fine-tune it before use.

| | |
|---|---|
| base model | {summary.base_model}{head} |
| reviews | {counts.train_rows:,} for training, {counts.held_out_rows:,} held out |
| data digest | {summary.data_digest} |
| sequences | {summary.train_sequences:,} of {summary.max_length} tokens |
| steps | {steps} {summary.best_step:,} |
| held-out perplexity | {summary.perplexity_before:.2f} before, {summary.perplexity_after:.2f} after |
| seed | {config.seed} |
"""


def publish(folder: Path, output: Path) -> None:
    """Move the finished folder to the output, in place of an earlier result."""
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    earlier = folder.with_name("earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    check_output(output)  # someone may have made it meanwhile
    if output.exists():
        output.rename(earlier)
    folder.rename(output)
