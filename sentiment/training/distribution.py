"""Train in several processes that Spark starts, one per task: `TorchDistributor` runs torchrun in them."""

import os
import sys
from dataclasses import replace
from typing import Any, cast

from ..cli import Reporter
from ..config import FinetuneConfig
from ..errors import ConfigError, LostProcessError, SentimentError, TrainingError
from . import processes
from .finetuning import FinetuneSummary, finetune


def finetune_on_spark(config: FinetuneConfig, tracking_uri: str) -> FinetuneSummary:
    """Run `finetune` in `num_processes` processes on the session's cluster; return the main one's summary.

    On a local master the driver starts them. On a cluster, executors must reach the data, the encoder, the
    checkpoints and the tracking server at the same paths and addresses.
    """
    from pyspark.errors import PySparkException
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    is_ours = SparkSession.getActiveSession() is None
    session = SparkSession.builder.appName("sentiment-finetune").getOrCreate()
    is_local = str(session.sparkContext.master).startswith("local")
    if not is_local and tracking_uri.startswith("sqlite:"):
        raise ConfigError(
            f"distributor: executors cannot write to {tracking_uri}; set MLFLOW_TRACKING_URI to a server"
        )
    distributor = TorchDistributor(
        num_processes=config.num_processes or 1,
        local_mode=is_local,
        use_gpu=session.conf.get("spark.task.resource.gpu.amount", None) is not None,
    )
    given = replace(config, distributor="none", num_processes=None)
    try:
        outcome = distributor.run(_run_process, given, tracking_uri)
    except (RuntimeError, PySparkException) as error:
        raise TrainingError(
            "a training process ended; its own lines above state why; run the same command again to continue"
        ) from error
    finally:
        if is_ours:
            session.stop()
    if isinstance(outcome, SentimentError):
        raise outcome
    return cast(FinetuneSummary, outcome)


def _run_process(config: FinetuneConfig, tracking_uri: str) -> Any:
    """Run one of the processes; return its summary, or the error that all processes agree on."""
    from rich.console import Console

    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    is_main = processes.get_rank() == 0
    report = Reporter(Console(stderr=True, highlight=False))
    try:
        return finetune(config, report if is_main else lambda *_: None)
    except LostProcessError:
        sys.exit(LostProcessError.exit_code)
    except SentimentError as error:
        if is_main or error.is_reported:
            return error
        # The main process waits for this one, so it cannot report the error.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
