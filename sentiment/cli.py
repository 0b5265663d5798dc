"""Run a job as a command: arguments, progress, summary file, exit code and one-line errors."""

import argparse
import dataclasses
import io
import json
import logging
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .config import config_fields, load_config
from .errors import ConfigError, SentimentError
from .process.files import replace_file

Config = TypeVar("Config")
# Does the work of a job and returns its summary.
Run = Callable[[Config, "Reporter"], dict[str, Any]]
# Formats a summary as tables for the terminal.
Show = Callable[[Mapping[str, Any]], Sequence[Table]]
# Reports the stage of the work, the units done, all units, and a note. A `Reporter` is one.
Progress = Callable[[str, int, int, str], None]
# Prints one line (an error or a warning) where the caller of the job reads it.
Tell = Callable[[str], None]

# The exit codes that shells use for a process that Ctrl-C ended, and for one that SIGTERM ended.
INTERRUPTED, TERMINATED = 130, 143
# Key in the summary of a failed run: the name of the error's class, which an exit code does not tell.
ERROR_TYPE = "error_type"
_LINE_EVERY_SECONDS = 5.0
# A command of another job that a message recommends.
_COMMAND = re.compile(r"(`[^`]*`|jobs/\w+\.py --\w+)")


class Terminated(KeyboardInterrupt):
    """End a job after SIGTERM; like Ctrl-C it is no `Exception`, which libraries may catch."""


class Reporter:
    """Print progress: on a terminal one line that is overwritten, in a log a new line every few seconds."""

    def __init__(self, console: Console, debug: bool = False) -> None:
        self.debug = debug
        self._console = console
        self._started = time.monotonic()
        self._stage = ""
        self._written = float("-inf")

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report that `done` of `total` units of `stage` are done."""
        elapsed = time.monotonic() - self._started
        share = f" {done:,}/{total:,} ({done / total:.0%})" if total > 1 else ""
        line = f"[{elapsed:5.0f} s] {stage}{share}{' · ' + note if note else ''}"
        if self._console.is_terminal:
            if stage != self._stage and self._stage:
                self._console.file.write("\n")
            self._console.file.write(f"\r\x1b[2K{line[: self._console.width - 1]}")
            self._console.file.flush()
        elif stage != self._stage or done == total or elapsed - self._written >= _LINE_EVERY_SECONDS:
            self._console.file.write(f"{line}\n")
            self._console.file.flush()
            self._written = elapsed
        self._stage = stage

    def close(self) -> None:
        """End the line on the terminal."""
        if self._console.is_terminal and self._stage:
            self._console.file.write("\n")


def tell_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def run_job(
    config_class: type[Config],
    default_conf: Path | None,
    run: "Run[Config]",
    show: Show,
    argv: Sequence[str] | None = None,
    tell: Tell = tell_stderr,
    is_main: bool = True,
    base_conf: Path | None = None,
) -> int:
    """Run a job as a command and return its exit code (see `sentiment.errors`).

    Every error becomes one line on stderr. Only `--debug` prints a traceback, because it may contain reviews.
    If a run has several processes, only the main one prints anything else and writes the summary. Values of
    `base_conf` hold for settings that neither the config file nor the arguments state. Without `default_conf`
    the job reads no config file.
    """
    arguments = _parse(config_class, default_conf, argv)
    console = Console(stderr=True, highlight=False)
    if not is_main:
        console, show, arguments.summary = Console(file=io.StringIO()), lambda _: (), None
    reporter = Reporter(console, arguments.debug)
    if not arguments.debug:
        _quieten()
    try:
        _prepare_summary(arguments.summary)
    except ConfigError as error:
        return _fail(reporter, tell, str(error), error.exit_code)
    try:
        summary = run(read_config(config_class, arguments, default_conf, base_conf), reporter)
    except SentimentError as error:
        if error.summary is not None:  # part of the work was done
            reporter.close()
            _show_result(error.summary, show, tell)
        _write_summary(arguments.summary, {**(error.summary or {}), ERROR_TYPE: type(error).__name__})
        return _fail(reporter, tell, "" if error.is_reported else str(error), error.exit_code)
    except Terminated as error:
        return _fail(reporter, tell, str(error) if is_main else "", TERMINATED)
    except KeyboardInterrupt:
        return _fail(reporter, tell, "interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 the outermost handler: it reports and ends the job
        message = f"unexpected {type(error).__name__}; run again with --debug to see where"
        _write_summary(arguments.summary, {ERROR_TYPE: type(error).__name__})
        return _fail(reporter, tell, message, SentimentError.exit_code)
    reporter.close()
    _write_summary(arguments.summary, summary)
    _show_result(summary, show, tell)
    return 0


@contextmanager
def naming_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name the options of this job in the errors of modules that other jobs use too.

    `options` has the options of this job by those that the modules name. Recommended commands stay.
    """
    try:
        yield
    except SentimentError as error:
        parts = _COMMAND.split(str(error))
        for option, own in options.items():
            parts[::2] = [part.replace(option, own) for part in parts[::2]]
        message = "".join(parts)
        if message == str(error):
            raise
        raise type(error)(message, error.summary) from error


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table; the first column is left-aligned, the others right; cells are shown without markup."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _parse(config_class: type, default_conf: Path | None, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=config_class.__doc__,
        epilog="Exit codes: 0 done, 2 wrong arguments or config, 3 unusable input, 4 unusable model, "
        "5 store or run in use, 6 refused by a gate, 130 interrupted, 143 terminated, 1 any other error.",
        allow_abbrev=False,
    )
    add_config_arguments(parser, config_class, default_conf)
    parser.add_argument("--summary", metavar="FILE", type=Path, help="JSON file to write the results to")
    parser.add_argument("--debug", action="store_true", help="print tracebacks and messages of libraries")
    return parser.parse_args(argv)


def add_config_arguments(
    parser: "argparse.ArgumentParser | argparse._ArgumentGroup", config_class: type, default_conf: Path | None
) -> None:
    """Add an argument for each field of the config, and `--conf` for a YAML file with their values."""
    for field in config_fields(config_class):
        # The value of a switch is optional: `--dry_run` means `--dry_run true`.
        switch = {"nargs": "?", "const": "true"} if field.default is False else {}
        parser.add_argument(f"--{field.name}", metavar="VALUE", help=_help(field), **switch)  # type: ignore[arg-type]
    if default_conf is not None:
        parser.add_argument(
            "--conf", metavar="FILE", help=f"YAML file with these values ({default_conf.name})"
        )


def read_config(
    config_class: type[Config],
    arguments: argparse.Namespace,
    default_conf: Path | None,
    base_conf: Path | None = None,
) -> Config:
    """Return the config: arguments win over YAML, YAML over defaults. Raises ConfigError."""
    passed = getattr(arguments, "conf", None)  # absent without `default_conf`
    conf = Path(passed) if passed else default_conf if default_conf and default_conf.exists() else None
    given = {field.name: getattr(arguments, field.name) for field in config_fields(config_class)}
    base = base_conf if base_conf is not None and base_conf.exists() else None
    return load_config(config_class, conf, given, base)


def _help(field: "dataclasses.Field[Any]") -> str:
    metadata = getattr(field.type, "__metadata__", ())
    # A field may add a text of its own to a shared type, and then comes last.
    text = next((item for item in reversed(metadata) if isinstance(item, str)), field.name)
    return text if field.default in (None, dataclasses.MISSING) else f"{text} ({field.default})"


def _show_result(summary: Mapping[str, Any], show: Show, tell: Tell) -> None:
    for warning in summary.get("warnings", ()):
        tell(f"warning: {warning}")
    out = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    for table in show(summary):
        out.print(table)


def _fail(reporter: Reporter, tell: Tell, message: str, exit_code: int) -> int:
    reporter.close()
    if reporter.debug:
        traceback.print_exc()
    if message:
        tell(f"error: {' '.join(message.split())}")
    return exit_code


def _quieten() -> None:
    """Keep the warnings of libraries off the console."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # transformers sets the level of its logger when it is imported.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("transformers", "datasets", "huggingface_hub", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Its errors are stack traces of what the job reports in a line, as when Ctrl-C stops the JVM too.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)


def _prepare_summary(summary: Path | None) -> None:
    """Remove the summary of an earlier run, and check before the work that a new one can be written."""
    if summary is None:
        return
    try:
        summary.unlink(missing_ok=True)
        made = [folder for folder in summary.parents if not folder.exists()]
        summary.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=summary.parent):
            pass
        for folder in made:  # a failed run must not leave empty folders
            folder.rmdir()
    except OSError as error:
        raise ConfigError(
            f"summary: cannot write {summary} ({error.strerror}); pass another --summary"
        ) from error


def _write_summary(path: Path | None, summary: Mapping[str, Any]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, f"{json.dumps(summary, indent=2, default=str)}\n".encode())
