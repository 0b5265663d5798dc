"""Choose the texts on which the engines of an adopted classifier are compared, and its scores calibrated."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ..cli import Progress
from ..config import AdoptConfig, FinetuneConfig
from ..errors import EmptyInputError, InputError
from ..inference.selfcheck import SENTENCES
from ..schema import TEXT
from .data.preparation import RowProgress
from .data.reading import DataReport, load_labelled_reviews, make_format
from .data.sample import GROUP, load_sample
from .data.selection import describe_unused
from .quantization import MAX_GATE_ROWS, MIN_GATE_ROWS, pick_gate_reviews
from .unlabelled import read_texts, show_unused

# Texts of the project itself.
BUILT_IN = "built-in texts"


@dataclass(frozen=True)
class GateTexts:
    """Hold the reviews of the gate (`text` and, if they are labelled, `label`: class ids of the model).

    `test` are other labelled reviews with their details, None without labels. `notes` are sentences for the
    summary.
    """

    source: str
    text_col: str
    reviews: pd.DataFrame
    test: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_built_in(self) -> bool:
        return self.source == BUILT_IN


def load_gate_texts(config: AdoptConfig, labels: Sequence[str], progress: Progress) -> GateTexts:
    """Read the reviews of the configuration, or the texts of the project; `labels` are those of the model.

    Raises an InputError if the reviews cannot be read, or have labels that the model lacks.
    """
    progress("reading reviews", 0, 1, config.reviews or BUILT_IN)
    if config.reviews is None:
        return make_built_in_texts(config)
    if config.label_col is None:
        return _read_unlabelled(config)
    return _read_labelled(config, labels, lambda rows, file: progress("reading reviews", 0, 0, file))


def make_built_in_texts(config: AdoptConfig) -> GateTexts:
    """Return English texts: the sentences of the self-check, and the sample, as reviews and as sentences."""
    texts = list(SENTENCES)
    notes: tuple[str, ...] = ()
    try:
        sample = load_sample()
    except InputError:
        notes = (
            f"the sample could not be fetched, so the engines were compared on only {len(texts)} texts; "
            "pass --reviews with texts of yours",
        )
    else:
        whole = sample.groupby(GROUP, sort=False)[TEXT].agg(" ".join)
        sentences = sample[TEXT].sample(frac=1, random_state=config.seed)
        texts = list(dict.fromkeys([*texts, *whole, *sentences]))[:MIN_GATE_ROWS]
    return GateTexts(BUILT_IN, config.text_col or TEXT, pd.DataFrame({TEXT: texts}), notes=notes)


def _read_unlabelled(config: AdoptConfig) -> GateTexts:
    """Read texts without labels, and take a sample of those that are distinct and can be scored."""
    path, text_col = str(config.reviews), config.text_col or TEXT
    with TemporaryDirectory(prefix="sentiment-") as scratch:
        read, warnings = read_texts(path, text_col, Path(scratch), make_format(config))
        rows = [text for text in read[TEXT] if text is not None]
        n_read = len(read)
    texts = pd.Series(list(dict.fromkeys(rows)), name=TEXT, dtype=object)
    if not len(texts):
        raise EmptyInputError(
            f"{path}: none of {n_read:,} rows has a text that a model would score; check --reviews and "
            "--text_col"
        )
    kept = texts.sample(min(len(texts), MAX_GATE_ROWS), random_state=config.seed)
    note = (
        f"of {n_read:,} rows, {n_read - len(texts):,} have no text of their own, {len(kept):,} are compared"
    )
    notes = (note, *warnings)
    return GateTexts(path, text_col, kept.to_frame().reset_index(drop=True), notes=notes)


def _read_labelled(config: AdoptConfig, labels: Sequence[str], progress: RowProgress) -> GateTexts:
    """Read labelled reviews as fine-tuning does: the test split measures, the others calibrate."""
    reviews = load_labelled_reviews(
        FinetuneConfig(
            dataset_name=str(config.reviews),
            text_col=config.text_col,
            label_col=config.label_col,
            label_scheme=config.label_scheme,
            label_map=config.label_map,
            delimiter=config.delimiter,
            encoding=config.encoding,
            column_names=config.column_names,
            max_train_samples=MAX_GATE_ROWS,
            max_eval_samples=config.max_eval_samples,
            seed=config.seed,
        ),
        progress,
        labels,
    )
    ids = [labels.index(name) for name in reviews.label_names]
    splits = reviews.splits

    def renumber(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label=[ids[i] for i in frame["label"]])

    gate = pick_gate_reviews(splits.load_train(), splits.validation, config.seed)
    unused = [labels[i] for i in range(len(labels)) if i not in ids]
    notes = (f"no review has the label {', '.join(unused)}",) if unused else ()
    return GateTexts(
        str(config.reviews),
        reviews.text_col,
        renumber(gate)[[TEXT, "label"]],
        renumber(splits.test),
        (*notes, *_describe_reading(reviews.report), *reviews.report.counts.warnings),
    )


def _describe_reading(report: DataReport) -> tuple[str, ...]:
    """Return sentences on how labels and files were understood, and on what was not used."""
    meanings = ", ".join(f"{value}: {name}" for value, name in report.labels.items())
    return (
        f"meaning of the label values: {meanings}",
        f"of {report.read_rows:,} rows, not used: {describe_unused(asdict(report.counts))}",
        *(f"{Path(file.name).name}: {note}" for file in report.files for note in file.notes),
        *show_unused(report.unused_files),
    )
