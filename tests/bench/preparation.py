"""What a contender makes of an encoder once: kept in the cache, under a digest of what it is made of."""

import hashlib
import json
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .trials import prepare_process

_VERSION = "1"
"""Of how the peers' are made here."""
_OPSET = 17


def prepare(encoder: Path, cache: Path) -> None:
    """Make everything here: no contender's start includes it."""
    run_apart(_prepare, encoder, cache)


def run_apart(function: Callable[..., None], *arguments: Any) -> None:
    """Call `function` in a process of its own, whose imports are nobody's memory afterwards.

    Raises RuntimeError if it fails; why is in the cache's logs, where it prints or whoever called this does.
    """
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        given = ", ".join(str(argument) for argument in arguments)
        raise RuntimeError(f"{function.__module__}.{function.__name__}({given}) failed; see the cache's logs")


def save_mlflow_model(encoder: Path, cache: Path) -> Path:
    """The encoder as a text-classification pipeline in an MLflow model of the flavor `transformers`.

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
    """The encoder as an ONNX graph: attention and normalisation fused, weights int8, activations dynamic.

    The TorchScript exporter on eager attention is the one whose graph ONNX Runtime's optimizer fuses
    wholly. Measured on DistilBERT size, one thread: 16.4 reviews/s, the dynamo exporter's eager graph (no
    attention fused) 16.0, its sdpa graph 15.2; and dynamo would need the package onnxscript as well.
    """

    def build(target: Path) -> None:
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
        _check_fused(optimized.get_fused_operator_statistics(), encoder)
        optimized.save_model_to_file(str(target / "fused.onnx"))
        quantize_dynamic(
            target / "fused.onnx",
            target / "int8.onnx",
            per_channel=True,
            reduce_range=False,  # needed only where the processor has no VNNI
            weight_type=QuantType.QInt8,
            # Types cannot be inferred through the fused operators.
            extra_options={"DefaultTensorType": _float_type()},
        )
        (target / "fp32.onnx").unlink()
        (target / "fused.onnx").unlink()

    return keep(cache, "onnx", encoder, build) / "int8.onnx"


def _prepare(encoder: Path, cache: Path) -> None:
    prepare_process(cache / "logs" / "preparation.log")
    save_mlflow_model(encoder, cache)
    export_int8_onnx(encoder, cache)


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


def _check_fused(statistics: dict[str, int], encoder: Path) -> None:
    # An optimizer that no longer understands the graph would make the strong peer a weak one, silently.
    if not statistics["Attention"] or not statistics["SkipLayerNormalization"]:
        raise RuntimeError(f"ONNX Runtime's optimizer did not fuse the graph of {encoder}: {statistics}")


def _float_type() -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT)


def keep(
    cache: Path, name: str, encoder: Path, build: Callable[[Path], None], version: str = _VERSION
) -> Path:
    """`build`'s folder, made once for this encoder and version; half a folder never has its name.

    `version` stands for whatever else the folder is made of: where that is code, a digest of the code.
    """
    target = cache / f"{name}-{_digest(encoder, version)}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f"{name}.{os.getpid()}"
    try:
        build(partial)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _digest(encoder: Path, version: str) -> str:
    digest = hashlib.sha256(version.encode())
    for file in sorted(encoder.iterdir()):
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
