"""The fine-tuned encoder as an OpenVINO graph with int8 weights: the one place that makes one."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from ..errors import EncoderUnavailableError
from ..inference.graph import GRAPH_FILE, import_openvino
from ..inference.reference import load_classifier


def export_graph(folder: Path) -> None:
    """Write graph.xml and graph.bin beside the safetensors in `folder`, from which they are made.

    Inputs are int64 ids and attention mask of any shape (rows, tokens), the output float32 logits. The
    weights of matrix products and embeddings are int8, symmetric, with one scale a channel.
    Raises EncoderUnavailableError if the encoder cannot be expressed as such a graph.
    """
    import torch

    openvino = import_openvino()
    model = load_classifier(folder)
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    try:
        with warnings.catch_warnings():
            # Tracing warns of every Python branch in the model's code, whichever way it goes here.
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(_make_traceable(model), example_input=example)
            for parameter in graph.get_parameters():
                parameter.set_partial_shape(openvino.PartialShape([-1, -1]))
            graph.validate_nodes_and_infer_types()
            graph = _compress_weights(graph)
    except RuntimeError as error:  # what OpenVINO raises for whatever it cannot convert
        raise EncoderUnavailableError(
            f"an encoder of type {model.config.model_type} cannot be made an OpenVINO graph "
            f"({type(error).__name__}); use one of the BERT family"
        ) from error
    openvino.save_model(graph, folder / GRAPH_FILE, compress_to_fp16=False)


def remove_graph(folder: Path) -> None:
    """Undo `export_graph`."""
    for file in (folder / GRAPH_FILE, (folder / GRAPH_FILE).with_suffix(".bin")):
        file.unlink(missing_ok=True)


def _make_traceable(model: Any) -> Any:
    """`model` as a module of two positional inputs that gives the logits, its last layer in float32.

    A matrix product would be computed, and its results given, in bfloat16 or int8 like those before it:
    a probability of three digits. What is not one keeps float32 up to the output.
    """
    import torch

    class ExactLinear(torch.nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            # The bias goes into the sum: added to its result, OpenVINO 2026.4 fuses it into the reduction
            # and adds it wrongly from the third row on.
            share = self.linear.bias.unsqueeze(-1) / self.linear.in_features
            logits: torch.Tensor = (hidden.unsqueeze(-2) * self.linear.weight + share).sum(-1)
            return logits

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            if isinstance(getattr(model, "classifier", None), torch.nn.Linear):
                model.classifier = ExactLinear(model.classifier)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    return Logits().eval()


def _compress_weights(graph: Any) -> Any:
    import logging

    import nncf

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # it draws a progress bar of a second
        return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
