"""Make of an encoder, once, what the peers load; it is kept under a digest of what it is made of."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .encoders import make_once

# To be raised when what is made here changes.
_VERSION = "1"
_OPSET = 17


def save_mlflow_model(encoder: Path, cache: Path) -> Path:
    """Save the encoder as a text-classification pipeline in an MLflow model of the flavor `transformers`.

    Truncation is a part of it, through `model_config`, as MLflow documents for arguments of a pipeline.
    """

    def build(target: Path) -> None:
        import mlflow.transformers
        from transformers import pipeline

        mlflow.transformers.save_model(
            transformers_model=pipeline("text-classification", model=str(encoder), device="cpu"),
            path=str(target),
            task="text-classification",
            model_config={"truncation": True},
            pip_requirements=["transformers", "torch"],  # else MLflow runs the model to find out
        )

    return keep(cache, "mlflow", encoder, build)


def export_int8_onnx(encoder: Path, cache: Path) -> Path:
    """Export an ONNX graph: attention and normalisation fused, weights int8, activations dynamic.

    The TorchScript exporter on eager attention is the one whose graph ONNX Runtime's optimizer fuses
    wholly. Measured on DistilBERT size, one thread: 16.4 reviews/s, the dynamo exporter's eager graph (no
    attention fused) 16.0, its sdpa graph 15.2; and dynamo would need the package onnxscript as well.
    """

    def build(target: Path) -> None:
        from onnx import TensorProto
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.transformers.optimizer import optimize_model

        target.mkdir()
        config = json.loads((encoder / "config.json").read_text())
        _export_onnx(encoder, target / "fp32.onnx")
        optimized = optimize_model(
            str(target / "fp32.onnx"),
            model_type="bert",  # documented for DistilBERT too
            num_heads=config.get("num_attention_heads") or config["n_heads"],
            hidden_size=config.get("hidden_size") or config["dim"],
        )
        fused = optimized.get_fused_operator_statistics()
        # An optimizer that no longer understands the graph would make the strong peer a weak one, silently.
        if not fused["Attention"] or not fused["SkipLayerNormalization"]:
            raise RuntimeError(f"ONNX Runtime's optimizer did not fuse the graph of {encoder}: {fused}")
        optimized.save_model_to_file(str(target / "fused.onnx"))
        quantize_dynamic(
            target / "fused.onnx",
            target / "int8.onnx",
            per_channel=True,
            reduce_range=False,  # needed only where the processor has no VNNI
            weight_type=QuantType.QInt8,
            # Types cannot be inferred through the fused operators.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        (target / "fp32.onnx").unlink()
        (target / "fused.onnx").unlink()

    return keep(cache, "onnx", encoder, build) / "int8.onnx"


def _export_onnx(encoder: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(encoder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    example = tokenizer(["good phone, bad battery", "no"], padding=True, return_tensors="pt")
    names = list(example)

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> Any:
            return self.model(**dict(zip(names, tensors, strict=True))).logits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is on its way out, and tracing warns of each branch
        torch.onnx.export(
            Logits(),
            tuple(example[name] for name in names),
            str(target),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "rows", 1: "tokens"} for name in names} | {"logits": {0: "rows"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def keep(
    cache: Path, name: str, encoder: Path, build: Callable[[Path], None], version: str = _VERSION
) -> Path:
    """Return `build`'s folder, made once for this encoder and version.

    `version` stands for whatever else the folder is made of, such as a digest of code.
    """
    return make_once(cache / f"{name}-{_digest(encoder, version)}", build)


def _digest(encoder: Path, version: str) -> str:
    digest = hashlib.sha256(version.encode())
    for file in sorted(encoder.iterdir()):
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
