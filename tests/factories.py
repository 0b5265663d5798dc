"""Make reviews, tiny models, stubs and batches of a store for tests."""

import contextlib
import ctypes
import errno
import hashlib
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment import schema
from sentiment.inference.signal_stack import _Stack
from sentiment.models import registry
from sentiment.tables.store.manifests import BatchId, Consumption, Manifest

if TYPE_CHECKING:
    from sentiment.evaluation.judged import JudgedReviews
    from sentiment.tables.store.files import Staging, WrittenFile
    from sentiment.tables.store.protocol import Batch, Store
    from sentiment.training.data.splits import Splits

ROOT = Path(__file__).resolve().parents[1]
CANARY = "Zanzibar-Quince-Canary"  # a text that must not be seen in logs, answers or consoles
TOKEN = "a-token-of-many-characters"
# Options for JVMs that live only seconds: the second compiler would take more time than it saves.
SHORT_RUNS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
ID_TYPES = {"review_id": "string"}
_GOOD = ("great", "good", "love", "perfect", "happy")
_BAD = ("bad", "awful", "hate", "broken", "poor")
_NEUTRAL = ("the", "battery", "screen", "it", "works", "is", "and", "very", "phone", "not", "a", "i")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (*_SPECIAL, *_GOOD, *_BAD, *_NEUTRAL, "!", ".", ",")


def make_reviews(n: int, **overrides: object) -> pd.DataFrame:
    """Return n distinct labelled reviews of growing length, half of them positive, with columns replaced."""
    rows = []
    for i in range(n):
        word = (_GOOD if i % 2 else _BAD)[i // 2 % 5]
        filler = " ".join(_NEUTRAL[(i * 7 + j) % len(_NEUTRAL)] for j in range(1 + i % 23))
        rows.append({"review_id": f"r{i}", "text": f"{filler} {word} {i}", "label": i % 2})
    return pd.DataFrame(rows).assign(**overrides)


def make_splits(train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame) -> "Splits":
    """Return splits as the reader gives them, whose training rows are a `datasets.Dataset`."""
    from datasets import Dataset

    from sentiment.training.data.splits import Splits

    return Splits(Dataset.from_pandas(train, preserve_index=False), validation, test)


def place_files(
    folder: Path, *names: str, name: str | None = None, content: str = "text,label\n{},1\n"
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Write files with their names as texts, and find them: by split, and the unused with the reason."""
    from sentiment.training.data.source import ReadOptions
    from sentiment.training.data.sources import find_locations

    for file in names:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content.format(file))
    found = find_locations(name or str(folder), ReadOptions())
    return {
        split: [os.path.relpath(location.name, folder) for location in locations]
        for split, locations in found.by_split.items()
    }, found.unused


def make_judged(
    truth: list[int],
    probabilities: list[list[float] | None],
    labels: tuple[str, ...] = schema.POLARITY_LABELS,
    **details: list[Any],
) -> "JudgedReviews":
    """Return judged reviews with these probabilities; None is a reject."""
    from sentiment.evaluation.judged import judge

    frame = pd.DataFrame(
        {
            schema.LABEL: [None if p is None else labels[p.index(max(p))] for p in probabilities],
            schema.SCORE: [None if p is None else max(p) for p in probabilities],
            schema.UNSURE: False,
            schema.N_TOKENS: [0 if p is None else 3 for p in probabilities],
            schema.TRUNCATED: False,
            schema.STAGE: schema.ENCODER,
            schema.REJECT_REASON: [schema.BLANK_TEXT if p is None else None for p in probabilities],
            schema.PROBABILITIES: pd.Series(probabilities, dtype=object),
        }
    )
    return judge(labels, np.array(truth), frame, pd.DataFrame(details) if details else None)


def make_tiny_encoder(
    folder: Path,
    seed: int = 0,
    max_length: int | None = None,
    initializer_range: float = 0.5,
    labels: tuple[str, ...] = schema.POLARITY_LABELS,
) -> Path:
    """Save an untuned BERT of two layers, 32 wide, with random weights and a word-level vocabulary.

    With `max_length` its tokenizer truncates, as a packaged encoder's does. Weights as wide as the
    default make random scores differ from review to review; one that is to learn wants 0.05.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    from sentiment.inference.engines import REFERENCE
    from sentiment.inference.settings import Settings, save_settings
    from sentiment.inference.vocabulary import make_vocabulary

    folder.mkdir(parents=True, exist_ok=True)
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    if max_length is not None:
        tokenizer.enable_truncation(max_length)
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = Settings(REFERENCE, "made by a test", 0, 32, labels)
        save_settings(settings, folder)
        make_vocabulary(folder, ids["[UNK]"])
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=initializer_range,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def tune_tiny_model(folder: Path) -> str:
    """Fine-tune and register a tiny model, alias champion, in the tracking store in use; return its URI."""
    from sentiment.config import FinetuneConfig
    from sentiment.training.finetuning import finetune

    encoder = make_tiny_encoder(folder / "encoder", initializer_range=0.05)
    make_reviews(400).to_parquet(folder / "train.parquet")
    config = FinetuneConfig(
        dataset_name=str(folder / "train.parquet"),
        distilbert_model=str(encoder),
        lr=3e-3,
        epochs=4,
        max_length=32,
        alias="champion",
    )
    return finetune(config, lambda *_: None).model_uri


@dataclass(frozen=True)
class TinyModel:
    """A registered tiny model: its tracking store and its registered URI."""

    tracking_uri: str
    uri: str


def make_tiny_model(folder: Path) -> TinyModel:
    """Fine-tune and register `models:/sentiment/1`, alias champion, in a tracking store under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with using_store(uri):
        return TinyModel(uri, tune_tiny_model(folder))


def keep_folder(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a folder be removed no more: as on NFS, where the files in it that are open have another name."""
    remove = os.rmdir

    def refuse(path: Any, *, dir_fd: int | None = None) -> None:
        if Path(path).name == folder.name:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        remove(path, dir_fd=dir_fd)

    patch.setattr(os, "rmdir", refuse)


@contextlib.contextmanager
def using_store(tracking_uri: str, **environment: str) -> Iterator[None]:
    """Point MLflow at a tracking store, and set environment variables, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MLFLOW_TRACKING_URI": tracking_uri, **environment}.items():
            patch.setenv(name, value)
        registry.use_tracking(ROOT)
        yield


_STUB = """
import ctypes, os, signal, time
from pathlib import Path

import mlflow
import pandas as pd


{code}


class Stub(mlflow.pyfunc.PythonModel):
    labels = ("negative", "positive")
    columns = ("label", "score", "unsure", "n_tokens", "truncated", "stage", "reject_reason")
    engine = "none"
    instruction_set = "none"
    engine_warning = None
    budget_tokens = 512

    def row_cost(self, n_tokens):
        return n_tokens

    def predict(self, context, model_input, params=None):
        return pd.DataFrame(self.predict_columns(model_input["text"].tolist()))

    def predict_columns(self, texts):
        meet([text for text in texts if isinstance(text, str)])
        is_text = [isinstance(text, str) for text in texts]
        return {{
            "label": ["positive" if found else None for found in is_text],
            "score": [0.75 if found else None for found in is_text],
            "n_tokens": [2 + len(str(text)) // 4 for text in texts],
            "truncated": [False for found in is_text],
            "stage": ["encoder" if found else None for found in is_text],
            "unsure": [False for found in is_text],
            "reject_reason": [None if found else "not_text" for found in is_text],
        }}


mlflow.models.set_model(Stub())
"""


def read_signal_stack() -> tuple[int | None, int, int]:
    """Return address, flags and size of the stack on which signal handlers of this thread run."""
    found = _Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.address, found.flags, found.size


def save_stub_model(folder: Path, code: str) -> str:
    """Save an unregistered model that labels every text positive, and return its path.

    `code` defines `meet(texts)`, which is called before each answer and may fail, sleep or end the process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stub.py").write_text(_STUB.format(code=code))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow prefers type hints, which check every element
        registry.import_mlflow().pyfunc.save_model(
            folder / "model",
            python_model=str(folder / "stub.py"),
            pip_requirements=["pandas"],
            model_config={"engine": "none", "threads": 1, "device": "cpu", "cascade": "off"},
        )
    return str(folder / "model")


def make_manifest(sequence: int, scored_rows: int = 1, rejected_rows: int = 1, **overrides: Any) -> Manifest:
    """Return a manifest of a batch that took a file of its own."""
    taken = {
        **{"path": f"/in/{sequence}.parquet", "size_bytes": 1, "modified_ns": 1, "footer_digest": "x"},
        **{"rows": scored_rows + rejected_rows, "start_row": 0, "stop_row": scored_rows + rejected_rows},
    }
    values: dict[str, Any] = {
        "sequence": sequence,
        "consumption": Consumption((taken,), "review_id", "text", "m-1"),
        "model_uri": "models:/sentiment/3",
        "model_version": "3",
        "scored_at": "2026-01-31T02:00:00+00:00",
        "input_rows": scored_rows + rejected_rows,
        "scored_rows": scored_rows,
        "rejected_rows": rejected_rows,
        "skipped_rows": {},
        "rejected_by_reason": {schema.NULL_TEXT: rejected_rows} if rejected_rows else {},
        "labels": {schema.POSITIVE: scored_rows},
        "stages": {schema.ENCODER: scored_rows},
        "id_types": ID_TYPES,
    }
    return Manifest(**{**values, **overrides})


def write_part(path: Path, n: int, sequence: int = 1, first_id: int = 0) -> None:
    """Write a Parquet file of n scored rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "review_id": [f"r{first_id + i}" for i in range(n)],
            schema.LABEL: [schema.POSITIVE] * n,
            schema.SCORE: [0.9] * n,
            schema.STAGE: [schema.ENCODER] * n,
            schema.TEXT_DIGEST: pa.array(range(n), pa.int64()),
            schema.MODEL_VERSION: ["3"] * n,
            schema.SEQUENCE: pa.array([sequence] * n, pa.int64()),
        }
    )
    pq.write_table(table, path)


def write_rejects(path: Path, n: int, sequence: int = 1, first_id: int = 0) -> None:
    """Write a Parquet file of n rejected rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "review_id": [f"x{first_id + i}" for i in range(n)],
            schema.REJECT_REASON: [schema.NULL_TEXT] * n,
            schema.TEXT_DIGEST: pa.array(range(n), pa.int64()),
            schema.MODEL_VERSION: ["3"] * n,
            schema.SEQUENCE: pa.array([sequence] * n, pa.int64()),
        }
    )
    pq.write_table(table, path)


def stage_rows(
    staging: "Staging", sequence: int, ids: Sequence[str], rejected: Sequence[str] = (), **columns: pa.Array
) -> list["WrittenFile"]:
    """Write scored and rejected rows as an executor does, with further columns of the scores."""
    from sentiment.tables.store.files import WrittenFile

    def write(names: Sequence[str], is_rejected: bool, more: dict[str, Any]) -> "WrittenFile":
        shared = {
            schema.TEXT_DIGEST: pa.array(range(len(names)), pa.int64()),
            schema.MODEL_VERSION: ["3"] * len(names),
            schema.SEQUENCE: pa.array([sequence] * len(names), pa.int64()),
        }
        rows = pa.table({"review_id": list(names), **more, **shared})
        stream = pa.BufferOutputStream()
        pq.write_table(rows, stream)
        body = stream.getvalue().to_pybytes()
        folder = staging.rejected_folder if is_rejected and staging.rejected_folder else staging.folder
        path = f"{folder}/part-{uuid.uuid4().hex}{staging.rejected_suffix if is_rejected else '.parquet'}"
        with staging.storage.open().open_output_stream(staging.storage.to_path(path)) as opened:
            opened.write(body)
        digest = hashlib.sha256(body).hexdigest()
        return WrittenFile(
            *(path, is_rejected, len(rows), len(body), digest, tuple(rows.column_names)),
            {"numRecords": len(rows)},
        )

    scores = {
        schema.LABEL: [schema.POSITIVE] * len(ids),
        schema.SCORE: [0.9] * len(ids),
        schema.STAGE: [schema.ENCODER] * len(ids),
        **columns,
    }
    files = [write(ids, False, scores)] if ids else []
    if rejected:
        files.append(write(rejected, True, {schema.REJECT_REASON: [schema.NULL_TEXT] * len(rejected)}))
    return files


@contextlib.contextmanager
def start_s3() -> Iterator[dict[str, str]]:
    """Start an S3 server in this process; yields the options of its storage."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test-key",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.stop()


@dataclass(frozen=True)
class Bucket:
    """An empty bucket: its URI and the options of its storage."""

    uri: str
    options: dict[str, str]


def make_bucket(options: dict[str, str]) -> Bucket:
    from pyarrow.fs import S3FileSystem

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    S3FileSystem(
        access_key=options["AWS_ACCESS_KEY_ID"],
        secret_key=options["AWS_SECRET_ACCESS_KEY"],
        region=options["AWS_REGION"],
        endpoint_override=options["AWS_ENDPOINT_URL"].partition("://")[2],
        scheme="http",
        allow_bucket_creation=True,
    ).create_dir(name)
    return Bucket(f"s3://{name}", options)


def publish_rows(store: "Store", batch: BatchId, manifest: Manifest, first_id: int = 0) -> "Batch":
    """Publish the rows that a manifest counts; a file of a lost task stays where it was staged."""
    staging = store.stage()
    ids = [f"r{first_id + i}" for i in range(manifest.scored_rows)]
    rejected = [f"x{first_id + i}" for i in range(manifest.rejected_rows)]
    if staging.storage.is_local:
        write_part(Path(staging.folder) / "part-lost.parquet", 1)
    return store.publish(staging, batch, manifest, stage_rows(staging, manifest.sequence, ids, rejected))


def describe_file(path: Path, is_rejected: bool = False) -> "WrittenFile":
    """Describe a Parquet file as the executor that wrote it."""
    from sentiment.tables.store.files import WrittenFile

    content, footer = path.read_bytes(), pq.read_metadata(path)
    digest = hashlib.sha256(content).hexdigest()
    columns = tuple(footer.schema.to_arrow_schema().names)
    return WrittenFile(str(path), is_rejected, footer.num_rows, len(content), digest, columns)


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key, P-256, as PEM files."""
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    return private, public
