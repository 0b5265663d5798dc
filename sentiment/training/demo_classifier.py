"""Make the classifier that `make demo-adopt` adopts, with plain transformers, as another project would.

MiniLM learns 1,600 training sentences of the sample, in one pass of some seconds.
"""

import sys
from pathlib import Path
from typing import Any

from ..config import SAMPLE, FinetuneConfig
from .data.reading import load_labelled_reviews
from .encoders import MINILM, load_encoder

_CARD = """---
license: apache-2.0
base_model: sentence-transformers/all-MiniLM-L6-v2
language: en
---
MiniLM with a head for two classes, trained on 1,600 sentences of Amazon reviews for `make demo-adopt`.
"""
_LABELS = ("NEGATIVE", "POSITIVE")
_TRAIN_ROWS, _BATCH_ROWS, _MAX_LENGTH, _LEARNING_RATE, _SEED = 1_600, 32, 48, 3e-4, 42


def make_demo_classifier(folder: Path) -> None:
    """Train the classifier and write it to a folder as `save_pretrained` does, with a model card."""
    encoder = load_encoder(MINILM, _MAX_LENGTH, _SEED)
    splits = load_labelled_reviews(FinetuneConfig(dataset_name=SAMPLE, seed=_SEED)).splits
    rows = splits.load_train(_TRAIN_ROWS, _SEED)
    _train(encoder.model, encoder.tokenizer, rows["text"].tolist(), rows["label"].tolist())
    encoder.model.config.id2label = dict(enumerate(_LABELS))
    encoder.model.config.label2id = {label: i for i, label in enumerate(_LABELS)}
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(_CARD, encoding="utf-8")


def _train(model: Any, tokenizer: Any, texts: list[str], labels: list[int]) -> None:
    """Train the last four layers and the head; the rate falls to zero."""
    import torch

    torch.manual_seed(_SEED)
    layers = model.base_model.encoder.layer
    for part in (model.base_model.embeddings, *layers[:-4]):
        part.requires_grad_(False)
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=_LEARNING_RATE)
    n_steps = -(-len(texts) // _BATCH_ROWS)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, n_steps)
    model.train()
    order = torch.randperm(len(texts)).tolist()
    for start in range(0, len(texts), _BATCH_ROWS):
        chosen = order[start : start + _BATCH_ROWS]
        batch = tokenizer(
            [texts[i] for i in chosen],
            truncation=True,
            max_length=_MAX_LENGTH,
            padding=True,
            return_tensors="pt",
        )
        loss = model(**batch, labels=torch.tensor([labels[i] for i in chosen])).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


if __name__ == "__main__":
    make_demo_classifier(Path(sys.argv[1]))
