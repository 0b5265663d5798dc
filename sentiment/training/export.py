"""Convert a fine-tuned encoder to OpenVINO graphs with int8 weights."""

import contextlib
import errno
import io
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, EncoderUnavailableError
from ..inference.engines.openvino import GRAPH_FILE, STATIC_GRAPH_FILE, import_openvino
from ..inference.engines.reference import load_classifier

# A file system has no room, or does not answer.
_SHORTAGES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EIO}


def export_graph(folder: Path) -> None:
    """Write graph.xml and graph.bin into a model folder.

    Inputs are int64 ids and attention mask of any shape (rows, tokens); the output is float32 logits. The
    weights of matrix products and embeddings are int8, symmetric, with one scale per channel. Raises
    EncoderUnavailableError if OpenVINO cannot convert the encoder, ConfigError if it cannot write the files.
    """
    with _converting(folder) as (graph, nncf):
        graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
        _spell_out_attention(graph)
    _save(graph, folder / GRAPH_FILE)


def export_static_graph(folder: Path, rows: Sequence[np.ndarray]) -> None:
    """Write static.xml and static.bin: as `export_graph`, but the inputs of linear layers are int8 too.

    The scales of the inputs are fixed by `rows`, the token ids of some hundreds of typical texts: they cover
    the range of each activation, after SmoothQuant (Xiao et al., ICML 2023) has moved part of it into the
    weights.
    """
    with _converting(folder) as (graph, nncf):
        # Embeddings are compressed first, as in `export_graph`. Quantised with the rest, they would be
        # stored in float32.
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
            # Attention is excluded: one of several hundred probabilities is smaller than a step of int8.
            ignored_scope=nncf.IgnoredScope(types=["Gather", "ScaledDotProductAttention"], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges
            ),
        )
        _scale_after_lookup(graph)
        _spell_out_attention(graph)
    _save(graph, folder / STATIC_GRAPH_FILE)


def remove_graph(folder: Path, name: str) -> None:
    """Remove the two files of a graph, if they exist."""
    for file in (folder / name, (folder / name).with_suffix(".bin")):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _converting(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the float32 graph and the silenced module NNCF; raise EncoderUnavailableError if a step fails.

    An OSError and a MemoryError are no failures of a conversion, and are raised as they are.
    """
    openvino = import_openvino()
    import nncf
    import nncf.quantization.range_estimator
    import torch
    import transformers

    # Its own function sets the level of handlers too, which may be those of the process.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    verbosity = transformers.logging.get_verbosity()
    # Tracing reads every property of the encoder, of which one warns that it has no loss.
    transformers.logging.set_verbosity_error()
    model = load_classifier(folder)
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    try:
        with warnings.catch_warnings():
            # Tracing warns about each Python branch in the code of the model.
            warnings.simplefilter("ignore")
            with _keep_root_logger():
                graph = openvino.convert_model(_make_traceable(model), example_input=example)
            for parameter in graph.get_parameters():
                parameter.set_partial_shape(openvino.PartialShape([-1, -1]))
            graph.validate_nodes_and_infer_types()
            with contextlib.redirect_stdout(io.StringIO()):  # NNCF prints progress bars
                yield graph, nncf
    # Tracing runs the code of the encoder, which may raise anything.
    except Exception as error:
        shortage = _find_shortage(error)
        if shortage is not None:
            raise shortage from None
        raise EncoderUnavailableError(
            f"OpenVINO cannot convert an encoder of type {model.config.model_type} "
            f"({type(error).__name__}); one of the BERT family would be faster"
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)


def _find_shortage(error: Exception) -> BaseException | None:
    """Return the error of memory or of the file system that `error` is, or that caused it; None without any.

    Other causes of the kind OSError are part of a conversion: torch raises one if it finds no source code.
    """
    if isinstance(error, OSError):
        return error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _SHORTAGES):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


@contextlib.contextmanager
def _keep_root_logger() -> Iterator[None]:
    """Restore the root logger: a conversion that fails leaves it at ERROR, for the whole process."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _scale_after_lookup(graph: Any) -> None:
    """Make the graph look up int8 embeddings and their scales before it multiplies them.

    Else OpenVINO 2026.4 multiplies the whole table when it compiles a graph with int8 products, and keeps it
    in float32: 94 MB for DistilBERT.
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
    """Return the int8 constant and the scales of which `table` is the product; None if it is no product."""
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
    """Replace attention nodes by products and a softmax, without transposing the keys.

    OpenVINO 2026.4 transposes them in a separate step, which takes 4 to 7 % of a mini-batch. Call this last,
    so that the new products are not quantised.
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
    """Write a graph. Raises ConfigError if it cannot be written, which OpenVINO reports as a RuntimeError."""
    try:
        import_openvino().save_model(graph, path, compress_to_fp16=False)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        free = shutil.disk_usage(path.parent).free / 1e6
        raise ConfigError(
            f"{path}: cannot write the graph of the model ({reason}; {free:,.0f} MB are free); make room, or "
            "set TMPDIR to a folder of a larger disk"
        ) from error


def _make_inputs(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids = row[None].astype(np.int64)
    return ids, np.ones_like(ids)


def _make_traceable(model: Any) -> Any:
    """Wrap `model` as a module with two positional inputs that returns logits, its last layer in float32.

    The last layer is written as a sum, because OpenVINO would compute a matrix product in bfloat16 or int8,
    which leaves three digits of a probability.
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
            # The bias is part of the sum. If it is added afterwards, OpenVINO 2026.4 fuses the addition into
            # the reduction, and the result is wrong from the third row on.
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
