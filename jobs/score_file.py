"""Score one uploaded file, for Domino's launcher "Score my file": `python jobs/score_file.py FILE`.

Writes `results/NAME.scored.csv` (.parquet for a Parquet file) and email.html to the current folder. Email and
table on the terminal have counts and no review.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sentiment import schema
from sentiment.cli import make_table
from sentiment.config import DEFAULT_MODEL_URI
from sentiment.errors import AmbiguousInputError, ConfigError, MissingInputError, SentimentError

HOME = Path(__file__).resolve().parents[1]


def score_file(path: Path, text_col: str | None, folder: Path, model_uri: str) -> dict[str, str]:
    """Score the file into `folder/results`, write the email, return the figures. Raises SentimentError."""
    from sentiment.dashboard import downloads, model, uploads
    from sentiment.domino.mail import format_mail, write_mail

    data = _read(path)
    if uploads.needs_encoding(path.name, data):
        raise AmbiguousInputError(
            f"{path.name}: is not Unicode, and its encoding is not known; save it as UTF-8"
        )
    upload = uploads.read_upload(path.name, data)
    columns = uploads.find_text_columns(path.name, upload.table)
    column = choose_text_column(text_col, columns, path.name)
    used = model.open_model(model_uri, HOME)
    predictions = model.predict(used, list(upload.list_texts(column)))
    scored = downloads.add_predictions(upload.table, predictions)
    is_parquet = path.suffix.lower() == ".parquet"
    target = Path("results") / f"{path.stem}.scored{'.parquet' if is_parquet else '.csv'}"
    content = downloads.write_parquet(scored) if is_parquet else downloads.write_csv(scored)
    try:
        (folder / target).parent.mkdir(exist_ok=True)
        (folder / target).write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{folder / target}: cannot be written ({error.strerror})") from error
    left_out = {"lines left out: they cannot be read": f"{len(upload.left_out):,}"} if upload.left_out else {}
    figures = count(predictions) | left_out | {"model version": used.reference.version, "text column": column}
    page = format_mail(f"{path.name}: scored", figures, f"The table with predictions is {target}.")
    write_mail(folder, page, [str(target)])
    return figures


def choose_text_column(asked: str | None, found: Sequence[str], name: str) -> str:
    """Return the column to score. Raises AmbiguousInputError if it is not plain which one that is."""
    from sentiment.dashboard.uploads import choose_usual_column

    usual = choose_usual_column(list(found)) if not asked else None
    if asked in found:
        return str(asked)
    if asked or usual is None:
        raise AmbiguousInputError(f"{name}: pass --text_col with one of {schema.show_columns(found)}")
    return found[usual]


def count(predictions: pd.DataFrame) -> dict[str, str]:
    """Return the numbers of rows by result, as text."""
    labels = predictions[schema.LABEL].value_counts().sort_index()
    rejects = predictions[schema.REJECT_REASON].value_counts().sort_index()
    return {
        "rows": f"{len(predictions):,}",
        **{f"label {label}": f"{rows:,}" for label, rows in labels.items()},
        "unsure": f"{int(predictions[schema.UNSURE].sum()):,}",
        **{f"rejected: {reason}": f"{rows:,}" for reason, rows in rejects.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Score a file and print the counts; return an exit code (see `sentiment.errors`)."""
    from rich.console import Console

    parser = argparse.ArgumentParser(
        description="Score one CSV, TSV, JSON lines, Excel or Parquet file.", allow_abbrev=False
    )
    parser.add_argument("file", type=Path, help="file with a column of reviews")
    # A launcher passes an empty text for a field that is left empty.
    parser.add_argument("--text_col", default="", help="text column (default: text, content or the only one)")
    arguments = parser.parse_args(argv)
    uri = os.environ.get("SENTIMENT_MODEL_URI", DEFAULT_MODEL_URI)
    try:
        figures = score_file(arguments.file, arguments.text_col or None, Path.cwd(), uri)
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    # The messages of Arrow, and with them a traceback, may quote a review.
    except Exception as error:  # noqa: BLE001 the outermost handler: it reports and ends the job
        print(f"error: unexpected {type(error).__name__}", file=sys.stderr)
        return SentimentError.exit_code
    table = make_table("Scored", (arguments.file.name, ""), list(figures.items()))
    Console(highlight=False, width=None if sys.stdout.isatty() else 110).print(table)
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingInputError(f"{path}: cannot be read ({error.strerror})") from error


if __name__ == "__main__":
    sys.exit(main())
