"""Serve REST without a checkout of the project: `python -m sentiment.serving --help`.

It is what `python score.py --serve` does; without MLFLOW_TRACKING_URI, models are looked for in `var` of the
current folder.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..cli import add_config_arguments, read_config
from ..config import ServeConfig
from ..errors import SentimentError
from ..models import registry
from .server import serve

_CONF = Path("conf") / "serve.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, and return an exit code (see `sentiment.errors`)."""
    parser = argparse.ArgumentParser(
        prog="python -m sentiment.serving", description="Serve one model by REST.", allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help="log the messages of libraries")
    add_config_arguments(parser, ServeConfig, _CONF)
    arguments = parser.parse_args(argv)
    try:
        config = read_config(ServeConfig, arguments, _CONF)
        registry.use_tracking(Path.cwd())
        serve(config, debug=arguments.debug)
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
