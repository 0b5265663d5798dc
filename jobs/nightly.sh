#!/usr/bin/env bash
# Score the reviews that came in: what a scheduler runs (cron, or a scheduled job on Domino: 0 0 2 * * ?).
#
#   jobs/nightly.sh [ARGUMENT]...      arguments of jobs/score_reviews.py, which win over the paths below
#
# Reads    REVIEWS_INPUT, else on Domino the folder `reviews` of the data set named for the project.
# Writes   SCORES_OUTPUT, else its folder `scores`; relative paths start at the repository's root;
#          nightly/score.json in $DOMINO_ARTIFACTS_DIR, else in var: the run's summary;
#          dominostats.json in $DOMINO_WORKING_DIR, else in the root: its figures for the Jobs dashboard.
# Returns  the scoring job's exit code, or 2 if it is not known what to read and write.
#
# MLFLOW_TRACKING_URI and the Spark master stay as the platform has set them.
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."

# spark-submit starts the first python3 on PATH, so it takes more than the path of spark-submit.
if [[ -d .venv ]]; then
  export PATH="$PWD/.venv/bin:$PATH"
fi

summary="${DOMINO_ARTIFACTS_DIR:-var}/nightly/score.json"
stats="${DOMINO_WORKING_DIR:-.}/dominostats.json"
# A run that fails must not show the figures of the one before it.
rm -f -- "$summary" "$stats"

dataset=
if [[ -n ${DOMINO_PROJECT_NAME:-} ]]; then
  if [[ -n ${DOMINO_DATASETS_DIR:-} ]]; then
    dataset="$DOMINO_DATASETS_DIR/$DOMINO_PROJECT_NAME"
  elif [[ ${DOMINO_IS_GIT_BASED:-} == [Tt]rue ]]; then
    dataset="/mnt/data/$DOMINO_PROJECT_NAME"
  else
    dataset="/domino/datasets/local/$DOMINO_PROJECT_NAME"
  fi
fi
input="${REVIEWS_INPUT:-${dataset:+$dataset/reviews}}"
output="${SCORES_OUTPUT:-${dataset:+$dataset/scores}}"
if [[ -z $input || -z $output ]]; then
  echo "error: nothing says what to score: set REVIEWS_INPUT and SCORES_OUTPUT (on Domino, DOMINO_PROJECT_NAME gives both)" >&2
  exit 2
fi

# Keeps the driver's JVM small; options given anywhere else come later, and win.
jvm_options="$(python3 -m sentiment.tables.jvm)"
export SPARK_SUBMIT_OPTS="$jvm_options${SPARK_SUBMIT_OPTS:+ $SPARK_SUBMIT_OPTS}"

# A failure ends the script here, with the job's own exit code.
spark-submit jobs/score_reviews.py --input "$input" --output "$output" "$@" --summary "$summary"

# The scores are published by now: a dashboard without figures is no reason to call the run failed.
python3 -m sentiment.domino.job_statistics "$summary" "$stats" ||
  echo "warning: the reviews are scored, but $stats could not be written" >&2
