"""A store that publishes rows without Spark, and nights that score from it; each step can be stopped."""

import contextlib
import datetime
import functools
import json
from collections import Counter

import pandas as pd

from sentiment import schema
from sentiment.errors import BadFilesError
from sentiment.evaluation.profile import IS_RIGHT, make_profile
from sentiment.monitoring import alerts, history, night, published, quality, steps
from tests.unit.monitoring.made import make_reference, make_rows

FIRST = datetime.date(2026, 3, 2)  # a Monday


class Stopped(BaseException):
    """Stands for a kill."""


class World:
    """Reviews that arrive, a store of batches, and the runs of MLflow; what a kill leaves stays."""

    def __init__(self, folder, *, labels=None, has_profiles=True, version="1"):
        self.folder = folder
        self.pending = []
        self.batches = []
        self.runs = {}
        self.calls = Counter()
        self.bad_files = []
        self.labels = labels
        self.has_profiles = has_profiles
        self.version = version
        self.reference = make_reference(n=3_000, seed=99)
        self.stop_at = None
        self.settings = {}
        self.is_rescore = False

    def arrive(self, day, modified=None, name=None, skipped=0, **options):
        """Put a file of rows into the input."""
        path = f"/in/date={day}/{name or 'part.parquet'}"
        at = modified or datetime.datetime.combine(day, datetime.time(1), datetime.UTC)
        rows = make_rows(**options).assign(id=range(options.get("n", 2_000))).drop(columns=IS_RIGHT)
        self.pending.append((path, at, rows.assign(model_version=self.version), skipped))

    def run(self, day, channels=None, limits=None, waits=(), now=None):
        doors = night.Doors(
            store="/scores",
            resolve=lambda: night.Champion("models:/m/1", self.version, self.reference),
            plan=lambda champion: self._summarise(len(self.pending)),
            score=self._score,
            list_names=lambda: {batch.number: batch.name for batch in self.batches},
            observe=lambda champion, includes: published.observe(
                day,
                now or datetime.datetime.combine(day, datetime.time(2), datetime.UTC),
                (champion.uri, champion.version),
                self.batches,
                includes,
                self.settings,
            ),
            label=None if self.labels is None else self._label,
            log=self._log,
        )
        runner = steps.Steps(lambda line: None, waits=waits, pause=lambda s: None, open_span=self._stop)
        if channels is None:
            channels = [alerts.FileChannel(self.folder / "alerts.jsonl")]
        return night.run_night(
            day, self.folder / "monitoring", doors, channels, limits or quality.Limits(), runner
        )

    def load(self):
        """Return all that is recorded, without times."""
        folder = self.folder / "monitoring"
        nights = history.load_nights(folder).drop(columns=["steps", "seconds"])
        raised = history.load_alerts(folder).drop(columns=["raised_at"])
        raised["items"] = raised["items"].map(list)
        # The name of a channel has a digest of its folder.
        raised["delivered"] = raised["delivered"].map(lambda delivered: list(delivered.values()))
        sent = self.folder / "alerts.jsonl"
        tables = {"nights": nights, "figures": history.load_figures(folder), "alerts": raised}
        return {
            # NaN differs from itself.
            **{
                name: t.astype(object).where(t.notna(), None).to_dict("records") for name, t in tables.items()
            },
            "sent": [json.loads(line)["key"] for line in sent.read_text().splitlines()]
            if sent.exists()
            else [],
            "reports": sorted(path.name for path in (folder / "reports").glob("*")),
            "profiles": sorted(path.name for path in (folder / "profiles").glob("*")),
            "runs": sorted(self.runs),
            "batches": len(self.batches),
        }

    @contextlib.contextmanager
    def _stop(self, name):
        self.calls[name] += 1
        if self.stop_at == (name, "before"):
            self.stop_at = None
            raise Stopped
        yield
        if self.stop_at == (name, "after"):
            self.stop_at = None
            raise Stopped

    def _score(self, champion):
        while self.pending:
            path, at, rows, skipped = self.pending[0]
            entry = {"path": path, "modified_ns": int(at.timestamp() * 1e9), "start_row": 0}
            rejects = int(rows[schema.REJECT_REASON].notna().sum())
            self.batches.append(
                published.PublishedBatch(
                    number=len(self.batches) + 1,
                    name=f"{len(self.batches) + 1} {path} {at}",
                    model_uri=champion.uri,
                    model_version=champion.version,
                    ids=("id",),
                    label_names=("negative", "positive"),
                    input_rows=len(rows) + skipped,
                    scored_rows=len(rows) - rejects,
                    skipped_rows=skipped,
                    is_rescore=self.is_rescore,
                    inputs=[{**entry, "stop_row": len(rows) + skipped}],
                    bad_files=[],
                    profile=make_profile(rows).as_dict() if self.has_profiles else None,
                    load_rows=functools.partial(rows.copy),
                )
            )
            self.pending.pop(0)
            if self.stop_at == ("score", "between"):
                self.stop_at = None
                raise Stopped
        summary = self._summarise(0)
        if self.bad_files:
            raise BadFilesError("1 of 2 input files cannot be used", summary)
        return summary

    def _summarise(self, pending):
        return {"pending_rows": pending, "bad_files": list(self.bad_files), "warnings": []}

    def _label(self, nights):
        if not self.batches:
            return {}, {}

        def load_scored(numbers):
            chosen = [batch for batch in self.batches if batch.number in numbers]
            return pd.concat([batch.load_rows().assign(sequence=batch.number) for batch in chosen])

        return published.label_nights(self.batches, nights, load_scored, lambda names: self.labels)

    def _log(self, day, row, report):
        self.runs[day.isoformat()] = row["input_rows"]
        return f"run-{day}"


def make_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of rows that `make_rows` made."""
    other = rows["label"].map({"positive": "negative", "negative": "positive"})
    return pd.DataFrame({"id": range(len(rows)), "truth": rows["label"].where(rows[IS_RIGHT], other)})
