"""Train an encoder on reviews without labels too, which a teacher labels.

The teacher is the mean of a fine-tuned encoder and a linear model on n-grams: they err on different reviews
(Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015).
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset
from scipy.sparse import csr_matrix

from .. import schema
from ..errors import EmptyInputError
from ..evaluation.judged import judge
from ..evaluation.linear import fit_linear, make_vectorizer
from ..inference.predictor import Predictor
from .cascade import MAX_TRAIN_ROWS
from .data import cache
from .encoders import Encoder, load_encoder
from .packaging import save_encoder
from .processes import get_rank, share, sharing_errors
from .runs import Training
from .unlabelled import UnlabelledReviews

_TEACHER, _TAUGHT, _ROWS, _COUNTS = "teacher", "taught", "rows.arrow", "counts.json"
_BATCH_ROWS = 5_000


@dataclass(frozen=True)
class Distillation:
    """Count the reviews without labels that the teacher labelled, and those that are not used by reason."""

    rows: int
    unused: dict[str, int]

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers by name, for MLflow."""
        return {"unlabelled_rows": self.rows, "unlabelled_rows_unused": sum(self.unused.values())}


def distil(
    encoder: Encoder, training: Training, unlabelled: UnlabelledReviews | None
) -> tuple[list[dict[str, float]], Distillation]:
    """Fine-tune a teacher, label the reviews with it, and fine-tune `encoder` on these and the labelled ones.

    Only the main process needs the reviews. Its labels are kept with the checkpoints, so that a run that was
    killed does not repeat the teacher. Returns the log of the second training, and the counts.
    """
    from .trainer import train_encoder

    place = training.checkpoints
    if not share(lambda: place.is_sealed(_TAUGHT)):
        teacher = _train_teacher(encoder, training)

        def teach() -> None:
            assert unlabelled is not None
            folder = place.folder / _TAUGHT
            folder.mkdir(exist_ok=True)
            counts = _write_rows(folder / _ROWS, teacher, training, unlabelled)
            (folder / _COUNTS).write_text(json.dumps(asdict(counts)))
            place.seal(_TAUGHT)

        share(teach)
    rows = _load_rows(place.folder / _TAUGHT / _ROWS)
    history = train_encoder(encoder, replace(training, splits=replace(training.splits, train=rows)))
    return history, Distillation(**json.loads((place.folder / _TAUGHT / _COUNTS).read_text()))


def _train_teacher(encoder: Encoder, training: Training) -> Encoder:
    """Fine-tune another encoder of the same first weights; its checkpoints are a folder of their own."""
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


def _write_rows(
    file: Path, teacher: Encoder, training: Training, unlabelled: UnlabelledReviews
) -> Distillation:
    """Write `text` and `label` (K probabilities) of the labelled reviews, and of those the teacher labels."""
    k = len(teacher.labels)
    layout = pa.schema({"text": pa.large_string(), "label": pa.list_(pa.float32(), k)})
    unused = Counter(unlabelled.unused)
    n_taught = 0
    with pa.OSFile(str(file), "wb") as opened, pa.ipc.new_stream(opened, layout) as out:

        def write(texts: list[str], probabilities: np.ndarray) -> None:
            flat = pa.array(probabilities.astype(np.float32).ravel())
            labels = pa.FixedSizeListArray.from_arrays(flat, type=layout.field("label").type)
            out.write_batch(
                pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string()), labels], schema=layout)
            )

        for batch in training.splits.train.iter(_BATCH_ROWS):
            write(batch["text"], np.eye(k)[batch["label"]])
            training.splits.release()
        for texts, probabilities, reasons in _label(teacher, training, unlabelled.texts):
            write(texts, probabilities)
            unused.update(reasons)
            n_taught += len(texts)
    if not n_taught:
        raise EmptyInputError(
            f"{training.config.unlabelled}: no review is left for the teacher to label; not used: "
            f"{dict(unused)}; omit --unlabelled, or pass other reviews"
        )
    return Distillation(n_taught, dict(unused))


def _label(
    teacher: Encoder, training: Training, texts: Dataset
) -> Iterator[tuple[list[str], np.ndarray, list[str]]]:
    """Yield texts, the mean probabilities of both models, and the reasons why other texts have none."""
    config, k = training.config, len(teacher.labels)
    labelled = training.splits.load_train(MAX_TRAIN_ROWS, config.seed)
    vectorizer = make_vectorizer(len(labelled))
    features = csr_matrix(vectorizer.fit_transform(labelled["text"]))
    linear = fit_linear(features, labelled["label"].to_numpy(), k)
    with TemporaryDirectory(prefix="sentiment-teacher-") as scratch:
        save_encoder(teacher, Path(scratch), config.max_length, config.truncation)
        predictor, done = Predictor(Path(scratch), probabilities=True), 0
        for batch in texts.iter(_BATCH_ROWS):
            predictions = predictor.predict(batch["text"])
            found = judge(teacher.labels, np.zeros(len(predictions), int), predictions)
            used = np.flatnonzero(~found.is_rejected)
            chosen = [batch["text"][i] for i in used]
            by_linear = linear.predict(vectorizer.transform(chosen)) if chosen else np.zeros((0, k))
            reasons = predictions[schema.REJECT_REASON].dropna().tolist()
            yield chosen, (found.probabilities[used] + by_linear) / 2, reasons
            done += len(predictions)
            training.progress("labelling reviews", done, len(texts), "")


def _load_rows(file: Path) -> Dataset:
    """Return the rows memory-mapped, with a fingerprint that their content decides."""
    table: Any = datasets.table.MemoryMappedTable.from_file(str(file))
    return Dataset(table, fingerprint=cache.make_key([file], []))
