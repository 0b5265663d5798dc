"""The fine-tuned encoder as OpenVINO graphs with int8 weights: the one place that makes them."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EncoderUnavailableError
from ..inference.engines.openvino import GRAPH_FILE, STATIC_GRAPH_FILE, import_openvino
from ..inference.engines.reference import load_classifier


def export_graph(folder: Path) -> None:
    """Write graph.xml and graph.bin next to the safetensors in `folder`, from which they are made.

    Inputs are int64 ids and attention mask of any shape (rows, tokens), the output float32 logits. The
    weights of matrix products and embeddings are int8, symmetric, with one scale a channel.
    Raises EncoderUnavailableError if the encoder cannot be expressed as such a graph.
    """
    with _making(folder) as (graph, nncf):
        graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
        _spell_out_attention(graph)
        _save(graph, folder / GRAPH_FILE)


def export_static_graph(folder: Path, rows: Sequence[np.ndarray]) -> None:
    """Write static.xml and static.bin: as `export_graph`, and what goes into linear layers is int8 too.

    Its scales are fixed by `rows`, the ids of some hundreds of texts of the kind that will be scored: the
    range that each activation has over them, after scale has been moved from activations to weights
    (SmoothQuant, Xiao et al., ICML 2023). Raises EncoderUnavailableError as `export_graph` does.
    """
    with _making(folder) as (graph, nncf):
        # Embeddings first, as in `export_graph`: quantised with the rest they would be looked up in float32.
        graph = nncf.compress_weights(
            graph,
            mode=nncf.CompressWeightsMode.INT8_SYM,
            ignored_scope=nncf.IgnoredScope(types=["MatMul"], validate=False),
        )
        ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
        graph = nncf.quantize(
            graph,
            nncf.Dataset(rows, _make_inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(rows),
            # A probability of attention, of several hundred that add up to 1, is less than a step of int8.
            ignored_scope=nncf.IgnoredScope(types=["Gather", "ScaledDotProductAttention"], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges
            ),
        )
        _scale_after_lookup(graph)
        _spell_out_attention(graph)
        _save(graph, folder / STATIC_GRAPH_FILE)


def remove_graph(folder: Path, name: str) -> None:
    """Undo an export of this name."""
    for file in (folder / name, (folder / name).with_suffix(".bin")):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _making(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the float32 graph, and NNCF to work on it, both silent; what they cannot do is one error."""
    openvino = import_openvino()
    import nncf
    import nncf.quantization.range_estimator
    import torch

    nncf.set_log_level(logging.ERROR)
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
            with contextlib.redirect_stdout(io.StringIO()):  # NNCF draws progress bars of its own
                yield graph, nncf
    except RuntimeError as error:  # what OpenVINO raises for whatever it cannot convert
        raise EncoderUnavailableError(
            f"an encoder of type {model.config.model_type} cannot be made an OpenVINO graph "
            f"({type(error).__name__}); use one of the BERT family"
        ) from error


def _scale_after_lookup(graph: Any) -> None:
    """Look up int8 embeddings and their scales, and then multiply.

    Beside int8 products OpenVINO 2026.4 multiplies the whole table when it compiles, and keeps it in float32:
    94 MB of a DistilBERT.
    """
    from openvino import opset13 as ops

    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Gather":
            continue
        found = _find_scaled(node.input_value(0))
        if found is None:
            continue
        weights, scales = found
        indices, axis = node.input_value(1), node.input_value(2)
        looked_up = ops.convert(ops.gather(weights, indices, axis), "f32")
        scale = ops.convert(ops.gather(scales, indices, axis), "f32")
        node.output(0).replace(ops.multiply(looked_up, scale).output(0))


def _find_scaled(table: Any) -> tuple[Any, Any] | None:
    """int8 constant and scales whose product, converted, is `table`; None if it is made in another way."""
    node = table.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Multiply":
        return None
    weights, scales = node.input_value(0).get_node(), node.input_value(1)
    while weights.get_type_name() == "Convert":
        weights = weights.input_value(0).get_node()
    if weights.get_type_name() != "Constant":
        return None
    return weights.output(0), scales


def _spell_out_attention(graph: Any) -> None:
    """Write attention as products and a softmax, the keys untransposed.

    OpenVINO 2026.4 does it by itself, but transposes the keys in a step of their own, value by value: 4 to
    7 % of a mini-batch. Call it last: products that stand for themselves would be quantised with the others.
    """
    from openvino import Type
    from openvino import opset13 as ops

    for node in graph.get_ordered_ops():
        if node.get_type_name() != "ScaledDotProductAttention" or node.get_attributes()["causal"]:
            continue
        query, key, value, *others = node.input_values()
        head_size = query.get_partial_shape()[3].get_length()
        scale = others[1] if len(others) > 1 else ops.constant(np.float32(head_size**-0.5))
        scores = ops.matmul(ops.multiply(query, scale), key, False, True)
        if others:
            mask = others[0]
            if mask.get_element_type() == Type.boolean:
                lowest = ops.constant(np.finfo(np.float32).min)
                mask = ops.select(mask, ops.constant(np.float32(0)), lowest).output(0)
            scores = ops.add(scores, mask)
        attended = ops.matmul(ops.softmax(scores, -1), value, False, False)
        attended.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(attended.output(0))


def _save(graph: Any, path: Path) -> None:
    import_openvino().save_model(graph, path, compress_to_fp16=False)


def _make_inputs(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids = row[None].astype(np.int64)
    return ids, np.ones_like(ids)


def _make_traceable(model: Any) -> Any:
    """`model` as a module of two positional inputs that gives the logits, its last layer in float32.

    A matrix product would be computed, and its results given, in bfloat16 or int8 like those before it:
    a probability of three digits. What is not one keeps float32 up to the output.
    """
    import torch

    from ..inference.engines.first_token import narrow_last_layer, reads_first_token, take_first_column

    if reads_first_token(model.config):
        narrow_last_layer(model, take_first_column)

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
