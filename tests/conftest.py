"""Factories shared by all tiers: reviews, a tiny encoder made here, a model registered from it."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
_GOOD = ("great", "good", "love", "perfect", "happy")
_BAD = ("bad", "awful", "hate", "broken", "poor")
_NEUTRAL = ("the", "battery", "screen", "it", "works", "is", "and", "very", "phone", "not", "a", "i")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (*_SPECIAL, *_GOOD, *_BAD, *_NEUTRAL, "!", ".", ",")

# Nothing that a test starts reports to anyone, or asks a hub.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"


def make_reviews(n: int, **overrides: object) -> pd.DataFrame:
    """n distinct labelled reviews of growing length, half of them positive; columns can be replaced."""
    rows = []
    for i in range(n):
        word = (_GOOD if i % 2 else _BAD)[i // 2 % 5]
        filler = " ".join(_NEUTRAL[(i * 7 + j) % len(_NEUTRAL)] for j in range(1 + i % 23))
        rows.append({"review_id": f"r{i}", "text": f"{filler} {word} {i}", "label": i % 2})
    return pd.DataFrame(rows).assign(**overrides)


def make_tiny_encoder(
    folder: Path, seed: int = 0, max_length: int | None = None, initializer_range: float = 0.5
) -> Path:
    """A BERT of two layers, 32 wide, with random weights and a word-level vocabulary; untuned.

    With `max_length` its tokenizer truncates, as a packaged encoder's does. Weights as wide as the
    default make random scores differ from review to review; one that is to learn wants 0.05.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    from sentiment.inference.engines import REFERENCE
    from sentiment.inference.settings import Settings, save_settings

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
        save_settings(Settings(REFERENCE, "made by a test", pad_id=0, hidden_size=32), folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=initializer_range,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged tiny encoder that reads at most 16 tokens."""
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"), max_length=16)


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow store of the test's own, set as a user would."""
    uri = f"sqlite:///{tmp_path / 'tracking' / 'mlflow.db'}"
    (tmp_path / "tracking").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    from sentiment import registry

    registry.use_tracking(tmp_path)
    return uri


class TinyModel:
    """A registered tiny model: its tracking store and its registered URI."""

    def __init__(self, tracking_uri: str, uri: str) -> None:
        self.tracking_uri = tracking_uri
        self.uri = uri


def tune_tiny_model(folder: Path) -> str:
    """Fine-tune and register a tiny model, alias champion, in the tracking store in use; its URI."""
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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """`models:/sentiment/1`, alias champion, fine-tuned by the library from the tiny encoder."""
    from sentiment import registry

    folder = tmp_path_factory.mktemp("tiny-model")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with Environment(MLFLOW_TRACKING_URI=uri):
        registry.use_tracking(folder)
        return TinyModel(uri, tune_tiny_model(folder))


@pytest.fixture
def use_tiny_model(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> TinyModel:
    """`tiny_model`, with MLflow pointed at it for the test."""
    from sentiment import registry

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tiny_model.tracking_uri)
    registry.use_tracking(ROOT)
    return tiny_model


class Environment:
    def __init__(self, **values: str) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._values}
        os.environ.update(self._values)

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real reviews; the test is skipped, and says so, where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"NOT RUN: no real reviews at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., str]:
    """Writes columns (or a frame) to a Parquet file under the test's folder and returns its path."""

    def write(data: object, name: str = "reviews.parquet") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(data).to_parquet(path, index=False)
        return str(path)

    return write
