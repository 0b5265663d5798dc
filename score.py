"""Score single reviews: `predict_sentiment("…")`, `python score.py --eval_path FILE`, or `--serve`.

The function is what a Domino Model API publishes; the model is the one that the nightly job scores with.
Importing this file does nothing: the first call imports MLflow and loads the model, or `warm_up()` before it.
"""

import argparse
import functools
import json
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment import schema
from sentiment.config import DEFAULT_MODEL_URI, ServeConfig
from sentiment.errors import MissingInputError, SentimentError
from sentiment.models import loading, registry
from sentiment.models.predictions import Prediction, list_predictions
from sentiment.process.telemetry import Telemetry, open_telemetry

# The example of the template that this project began with, with its spelling.
DEFAULT_SENTENCE = "The item came damanged, 1 star."

_HOME = Path(__file__).resolve().parent
_SERVE_CONF = _HOME / "conf" / "serve.yaml"

# A warm-up and a first call at the same time load one model, not two.
_loading = threading.Lock()
_log = logging.getLogger(__name__)


def predict_sentiment(sentence: str | Sequence[str | None]) -> Prediction | list[Prediction]:
    """Label one review, or each of a list, with the model at `SENTIMENT_MODEL_URI`.

    A prediction has the keys `label`, `score` (probability of that label), `unsure` (the score is too low to
    act on), `n_tokens`, `truncated`, `stage` (which part of the model decided) and `reject_reason`; with
    ordinal labels, such as stars, also `expected` (the mean). Where Domino captures predictions, also
    `event_id`, by which the right label is reported later. A null, blank, too long or non-string review,
    or one that the model cannot read, gets `label` and `score` None and its reason. One value gives one
    prediction, a list gives a list in its order.
    The first call loads the model and keeps it. Raises a ModelError if there is none that can be loaded.
    """
    if not isinstance(sentence, list | tuple):
        return _predict([sentence])[0]
    return _predict(list(sentence)) if sentence else []


def warm_up() -> threading.Thread:
    """Load the model in a thread, so that the first call of `predict_sentiment` does not wait for it.

    For the file that a Domino Model API publishes: `from score import predict_sentiment, warm_up` and then
    `warm_up()`. A call before the model is loaded waits for it. If there is no model, a warning is logged,
    and the first call tries again and raises.
    """
    thread = threading.Thread(target=_try_to_load, name="warm-up")
    thread.start()
    return thread


def _try_to_load() -> None:
    try:
        _get_model()
    except SentimentError as error:
        _log.warning("no model was loaded ahead: %s", error)


def _get_model() -> loading.LoadedModel:
    with _loading:
        return _load_champion(os.environ.get("SENTIMENT_MODEL_URI", DEFAULT_MODEL_URI))


def _predict(texts: list[Any]) -> list[Prediction]:
    from sentiment.domino.capture import capture_predictions

    model = _get_model()
    with _open_telemetry().open_span("predict_sentiment", {"sentiment.texts": len(texts)}) as span:
        predictions = list_predictions(model, texts)
        rejects = sum(prediction[schema.REJECT_REASON] is not None for prediction in predictions)
        span.set_attributes({"sentiment.rejects": rejects})
    return capture_predictions(texts, predictions)


@functools.cache
def _open_telemetry() -> Telemetry:
    # The providers of OpenTelemetry send what is waiting when the interpreter exits.
    return open_telemetry("sentiment.score")


@functools.cache
def _load_champion(uri: str) -> loading.LoadedModel:
    # A platform may import this file from anywhere; the project's files are next to it.
    registry.use_tracking(_HOME)
    return loading.load_model(
        uri, allow_unverified=loading.allows_unverified(), verify_key=loading.find_verify_key()
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Score a file of sentences, or a default one, and print a table or JSON; or serve REST."""
    from sentiment.cli import add_config_arguments

    parser = argparse.ArgumentParser(description="Score reviews, or serve REST.", allow_abbrev=False)
    parser.add_argument("--eval_path", metavar="FILE", help="a text file with one review per line")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--serve", action="store_true", help="serve REST until SIGTERM or SIGINT")
    parser.add_argument("--debug", action="store_true", help="with --serve: log the messages of libraries")
    serving = parser.add_argument_group("with --serve")
    add_config_arguments(serving, ServeConfig, _SERVE_CONF)
    arguments = parser.parse_args(argv)
    try:
        if arguments.serve:
            return _serve(arguments)
        sentences = _read_lines(arguments.eval_path) if arguments.eval_path else [DEFAULT_SENTENCE]
        predictions = predict_sentiment(sentences)
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    assert isinstance(predictions, list)
    if arguments.json:
        for prediction in predictions:
            print(json.dumps(prediction))
    else:
        _print_table(sentences, predictions)
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from sentiment.cli import read_config
    from sentiment.serving.server import serve

    config = read_config(ServeConfig, arguments, _SERVE_CONF)
    registry.use_tracking(_HOME)
    serve(config, debug=arguments.debug)
    return 0


def _read_lines(path: str) -> list[str]:
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MissingInputError(f"eval_path: cannot read {path} as UTF-8 text") from error
    # Not splitlines: a review may hold a form feed or a Unicode line separator.
    return content.removesuffix("\n").split("\n") if content else []


def _show_label(prediction: Prediction) -> str:
    if prediction[schema.LABEL] is None:
        return f"rejected: {prediction[schema.REJECT_REASON]}"
    return f"{prediction[schema.LABEL]}{' (unsure)' if prediction[schema.UNSURE] else ''}"


def _print_table(sentences: list[str], predictions: list[Prediction]) -> None:
    from rich.console import Console

    from sentiment.cli import make_table

    # Models with ordinal labels, such as stars, also give the mean.
    columns = [
        schema.SCORE,
        *([schema.EXPECTED] if any(schema.EXPECTED in one for one in predictions) else []),
    ]
    rows = [
        (
            sentence,
            _show_label(prediction),
            *("" if prediction[name] is None else f"{prediction[name]:.3f}" for name in columns),
        )
        for sentence, prediction in zip(sentences, predictions, strict=True)
    ]
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    console.print(make_table("", ("review", schema.LABEL, *columns), rows))


if __name__ == "__main__":
    sys.exit(main())
