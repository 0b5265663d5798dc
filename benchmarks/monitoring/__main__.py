"""Measure monitoring on real reviews: `python -m benchmarks.monitoring --model_uri MODEL`."""

import argparse
import sys
import time
from pathlib import Path

from sentiment.config import DEFAULT_MODEL_URI
from sentiment.evaluation.profile import PROFILE_FILE, Profile, load_profile
from sentiment.models import artifacts, loading, registry

from .. import CORES, ROOT, WORK, document
from ..measuring import results
from ..measuring.corpus import CLOTHING, DATED
from ..measuring.machine import read_machine
from .accuracy import compare_accuracies
from .nights import count_false_alarms, count_found, list_changes
from .reviews import load_scored

DRAWS, QUICK_DRAWS = 200, 20
NIGHT_ROWS = 2_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model_uri", default=DEFAULT_MODEL_URI, help="a model that saw none of the reviews")
    parser.add_argument("--profile", type=Path, help="profile of its test set, if it has none")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_DRAWS} draws")
    arguments = parser.parse_args()
    started = time.monotonic()
    registry.use_tracking(ROOT)
    model = registry.resolve_model(arguments.model_uri)
    found = arguments.profile or artifacts.find_artifact(model.folder, PROFILE_FILE)
    reference: Profile | None = load_profile(found) if found else None
    name = f"{registry.find_name(model.uri)}-{model.version}"
    sets = load_scored(loading.load_model(model), name, WORK)
    draws = QUICK_DRAWS if arguments.quick else DRAWS
    sections: dict[str, results.Section] = {
        "false_alarms": {
            "draws": [
                {"reviews": reviews, **count_false_alarms(sets[reviews], rows, draws)}
                for reviews, rows in (
                    *((DATED, rows) for rows in (200, 2_000)),
                    *((CLOTHING, rows) for rows in (200, 2_000, 20_000)),
                )
            ]
        },
        "changes": {
            "found": {
                title: count_found(sets[reviews], change, NIGHT_ROWS, draws)
                for title, (reviews, change) in list_changes(sets).items()
            }
        },
        "accuracy": {"parts": compare_accuracies(sets, reference)},
        # No load of the machine: the figures are no speeds.
        "run": {"seconds": round(time.monotonic() - started)},
    }
    words = results.QUICK if arguments.quick else results.FULL
    path = results.record("monitoring", words, read_machine(CORES), sections)
    print(document.write(path, is_rendered=words == results.FULL))
    return 0


if __name__ == "__main__":
    sys.exit(main())
