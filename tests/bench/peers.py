"""What this project is compared with."""

from collections.abc import Mapping

from . import loop_peers, spark_peers
from .trials import Hosted, Open, Trial

PEERS: Mapping[str, Mapping[str, Open]] = {
    "mlflow_spark_udf": {"mlflow_spark_udf": spark_peers.open_mlflow_spark_udf},
    "hf_pipeline_udf": {"hf_pipeline_udf": spark_peers.open_hf_pipeline_udf},
    "predict_batch_udf": {"predict_batch_udf": spark_peers.open_predict_batch_udf},
    "torch_sorted": {
        "torch_sorted_threads": loop_peers.open_torch_sorted_threads,
        "torch_sorted_processes": loop_peers.open_torch_sorted_processes,
    },
    "onnxruntime_int8": {
        "onnxruntime_int8_threads": loop_peers.open_onnxruntime_int8_threads,
        "onnxruntime_int8_processes": loop_peers.open_onnxruntime_int8_processes,
    },
}
"""Peer (a key of `ratios`) to its variants."""

SLOW = ("mlflow_spark_udf", "hf_pipeline_udf", "predict_batch_udf", "torch_sorted")
"""Peers that had better get a stratified subset."""


def host(variant: str, trial: Trial) -> Hosted:
    """A variant in a process of its own, not yet started."""
    for variants in PEERS.values():
        if variant in variants:
            return Hosted(variant, variants[variant], trial)
    raise KeyError(variant)
