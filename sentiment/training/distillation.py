"""Train an encoder on labelled reviews and on others that a teacher has labelled.

The teacher is the mean of a fine-tuned encoder and a linear model on n-grams: they err on different reviews
(Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015).
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from .. import schema
from ..errors import EmptyInputError
from ..evaluation.linear import LinearModel, extract_ngrams, fit_linear
from ..inference.predictor import Predictor
from .cascade import MAX_TRAIN_ROWS
from .checkpoints import explaining_writes
from .data import cache
from .data.splits import Splits
from .encoders import Encoder, load_encoder
from .packaging import save_encoder
from .processes import get_rank, share, sharing_errors, using_all_cores
from .runs import Training
from .unlabelled import UnlabelledReviews

# In the folder of the checkpoints: those of the teacher, and the rows with its labels.
_TEACHER, _LABELLED = "teacher", "labelled"
_ROWS, _COUNTS = "rows.arrow", "counts.json"
_BATCH_ROWS = 5_000


@dataclass(frozen=True)
class Distillation:
    """Count the reviews without labels: `rows` were labelled by the teacher, the others by reason.

    Of `rows`, `rows_by_encoder` have no n-gram that the linear model knows: the encoder only labelled them.
    """

    rows: int
    rows_by_encoder: int
    unused: dict[str, int]

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers by name, for MLflow."""
        return {
            "unlabelled_rows": self.rows,
            "unlabelled_rows_by_encoder": self.rows_by_encoder,
            "unlabelled_rows_unused": sum(self.unused.values()),
        }


@dataclass(frozen=True)
class _LinearTeacher:
    vectorizer: TfidfVectorizer
    model: LinearModel


def distil(
    encoder: Encoder, training: Training, labelled: Splits, unlabelled: UnlabelledReviews
) -> tuple[list[dict[str, float]], Distillation]:
    """Fine-tune a teacher, let it label the reviews, and fine-tune `encoder` on these and on the labelled.

    The linear model of the teacher learns from the training rows of `labelled`, its encoder from those of
    `training`, which may be augmented. The labels are kept with the checkpoints, so that a run that was
    killed does not repeat the teacher. Returns the log of the second training, and the counts.
    """
    from .trainer import train_encoder

    folder = training.checkpoints.folder / _LABELLED
    if not share(lambda: training.checkpoints.find_sealed(_LABELLED)):
        _label_with_teacher(encoder, training, labelled, unlabelled)
    rows = _load_rows(folder / _ROWS)
    history = train_encoder(encoder, replace(training, splits=replace(training.splits, train=rows)))
    return history, Distillation(**json.loads((folder / _COUNTS).read_text()))


def _label_with_teacher(
    encoder: Encoder, training: Training, labelled: Splits, unlabelled: UnlabelledReviews
) -> None:
    """Fine-tune the teacher in all processes, and write its labels in the main one."""
    teacher = _train_teacher(encoder, training)

    def write() -> None:
        place = training.checkpoints
        folder = place.folder / _LABELLED
        folder.mkdir(exist_ok=True)
        linear = _fit_linear(labelled, training.config.seed, len(teacher.labels))
        if linear is None:
            place.warnings.append(
                "the teacher has no linear model: no word is in several labelled reviews; its encoder only "
                "labelled the others"
            )
        with using_all_cores():
            counts = _write_rows(folder / _ROWS, teacher, linear, training, unlabelled)
        with explaining_writes(folder):
            (folder / _COUNTS).write_text(json.dumps(asdict(counts)))
            place.seal(_LABELLED)

    share(write)


def _train_teacher(encoder: Encoder, training: Training) -> Encoder:
    """Fine-tune another encoder of the same first weights; its checkpoints are in a folder of their own."""
    from .trainer import train_encoder

    def show(stage: str, done: int, total: int, note: str) -> None:
        training.progress(f"teacher, {stage}", done, total, note)

    config, place = training.config, training.checkpoints
    own = replace(place, folder=place.folder / _TEACHER)
    with sharing_errors():
        teacher = load_encoder(config.distilbert_model, config.max_length, config.seed, encoder.labels)
        if get_rank() == 0:
            own.folder.mkdir(exist_ok=True)
    # The MLflow run has the metrics of the second training only: their steps would be the same.
    train_encoder(teacher, replace(training, checkpoints=own, progress=show, log=None))
    return teacher


def _fit_linear(labelled: Splits, seed: int, k: int) -> _LinearTeacher | None:
    """Fit a linear model on the labelled reviews; None if they have no n-gram in common."""
    rows = labelled.load_train(MAX_TRAIN_ROWS, seed)
    ngrams = extract_ngrams(rows["text"].tolist())
    if ngrams is None:
        return None
    return _LinearTeacher(ngrams.vectorizer, fit_linear(ngrams.weights, rows["label"].to_numpy(), k))


def _write_rows(
    file: Path,
    teacher: Encoder,
    linear: _LinearTeacher | None,
    training: Training,
    unlabelled: UnlabelledReviews,
) -> Distillation:
    """Write `text` and `label` (K probabilities) of the training reviews, and of those the teacher labels.

    Raises EmptyInputError if the teacher can label none.
    """
    config, k = training.config, len(teacher.labels)
    layout = pa.schema({"text": pa.large_string(), "label": pa.list_(pa.float32(), k)})
    unused = Counter(unlabelled.unused)
    n_rows = n_by_encoder = n_done = 0
    with (
        TemporaryDirectory(prefix="sentiment-teacher-") as scratch,
        pa.OSFile(str(file), "wb") as opened,
        pa.ipc.new_stream(opened, layout) as out,
    ):

        def write(texts: list[str], probabilities: np.ndarray) -> None:
            flat = pa.array(probabilities.astype(np.float32).ravel())
            labels = pa.FixedSizeListArray.from_arrays(flat, type=layout.field("label").type)
            columns = [pa.array(texts, pa.large_string()), labels]
            with explaining_writes(file):
                out.write_batch(pa.RecordBatch.from_arrays(columns, schema=layout))

        for batch in training.splits.train.iter(_BATCH_ROWS):
            write(batch["text"], np.eye(k)[batch["label"]])
            training.splits.release()
        save_encoder(teacher, Path(scratch), config.max_length, config.truncation)
        predictor = Predictor(Path(scratch), probabilities=True)
        for batch in unlabelled.texts.iter(_BATCH_ROWS):
            predictions = predictor.predict(batch["text"])
            used = np.flatnonzero(predictions[schema.REJECT_REASON].isna())
            texts = [batch["text"][i] for i in used]
            probabilities = np.array(predictions[schema.PROBABILITIES].iloc[used].tolist()).reshape(-1, k)
            is_known = _add_linear(probabilities, texts, linear)
            write(texts, probabilities)
            unused.update(predictions[schema.REJECT_REASON].dropna())
            n_rows, n_by_encoder = n_rows + len(texts), n_by_encoder + int((~is_known).sum())
            n_done += len(predictions)
            training.progress("labelling reviews", n_done, len(unlabelled.texts), "")
    if not n_rows:
        raise EmptyInputError(
            f"{config.unlabelled}: the teacher can label no review; not used: {dict(unused)}; omit "
            "--unlabelled, or pass other reviews"
        )
    return Distillation(n_rows, n_by_encoder, dict(unused))


def _add_linear(probabilities: np.ndarray, texts: list[str], linear: _LinearTeacher | None) -> np.ndarray:
    """Replace probabilities (n, K) of the encoder by the mean with those of the linear model, in place.

    Return a mask of the texts for which this was done. Others have no n-gram that the linear model knows, and
    it would answer with the shares of the classes.
    """
    is_known = np.zeros(len(texts), bool)
    if linear is not None and texts:
        features = csr_matrix(linear.vectorizer.transform(texts))
        is_known = features.getnnz(axis=1) > 0
        if is_known.any():
            found = linear.model.predict(features[is_known])
            probabilities[is_known] = (probabilities[is_known] + found) / 2
    return is_known


def _load_rows(file: Path) -> Dataset:
    """Return the rows memory-mapped, with a fingerprint that their content decides."""
    table: Any = datasets.table.MemoryMappedTable.from_file(str(file))
    return Dataset(table, fingerprint=cache.make_key([file], []))
