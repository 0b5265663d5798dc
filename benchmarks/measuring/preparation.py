"""Convert an encoder for the peers, once; the name of the result contains a digest of its sources."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .encoders import make_once

# Raise this when a conversion changes.
_VERSION = "1"
_OPSET = 17


def save_mlflow_model(encoder: Path, cache: Path) -> Path:
    """Save the encoder as a text-classification pipeline in an MLflow model of the flavor `transformers`.

    `model_config` sets truncation, as MLflow documents for arguments of a pipeline.
    """

    def build(target: Path) -> None:
        import mlflow.transformers
        from transformers import pipeline

        mlflow.transformers.save_model(
            transformers_model=pipeline("text-classification", model=str(encoder), device="cpu"),
            path=str(target),
            task="text-classification",
            model_config={"truncation": True},
            pip_requirements=["transformers", "torch"],  # else MLflow runs the model to infer them
        )

    return keep(cache, "mlflow", encoder, build)


def export_int8_onnx(encoder: Path, cache: Path) -> Path:
    """Export an ONNX graph with fused attention and normalisation, int8 weights and dynamic activations.

    ONNX Runtime's optimizer fuses completely only the graph of the TorchScript exporter on eager attention.
    At DistilBERT size, one thread scores 16.4 reviews/s with it, 16.0 with the eager graph of the dynamo
    exporter (attention not fused) and 15.2 with its sdpa graph.
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
            model_type="bert",  # the documented type for DistilBERT too
            num_heads=config.get("num_attention_heads") or config["n_heads"],
            hidden_size=config.get("hidden_size") or config["dim"],
        )
        fused = optimized.get_fused_operator_statistics()
        # If a new optimizer cannot fuse the graph, the comparison would be unfair without a warning.
        if not fused["Attention"] or not fused["SkipLayerNormalization"]:
            raise RuntimeError(f"ONNX Runtime's optimizer did not fuse the graph of {encoder}: {fused}")
        optimized.save_model_to_file(str(target / "fused.onnx"))
        quantize_dynamic(
            target / "fused.onnx",
            target / "int8.onnx",
            per_channel=True,
            reduce_range=False,  # needed only where the processor has no VNNI
            weight_type=QuantType.QInt8,
            # Types cannot be inferred across the fused operators.
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
        warnings.simplefilter("ignore")  # the exporter is deprecated, and tracing warns about each branch
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
    """Return the folder that `build` makes, once for each encoder and version.

    `version` stands for all other sources of the folder, such as a digest of code.
    """
    return make_once(cache / f"{name}-{_digest(encoder, version)}", build)


def _digest(encoder: Path, version: str) -> str:
    digest = hashlib.sha256(version.encode())
    for file in sorted(encoder.iterdir()):
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
