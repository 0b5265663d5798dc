#!/usr/bin/env bash
# Score the new reviews, and compare them with the nights before; meant for a scheduler (cron, or a scheduled job on Domino: 0 0 2 * * ?).
#
#   jobs/nightly.sh [ARGUMENT]...      arguments of jobs/nightly.py, which takes those of jobs/score_reviews.py;
#                                      they win over the paths below
#
# Reads    REVIEWS_INPUT; default on Domino: folder `reviews` of the data set with the project's name.
# Writes   SCORES_OUTPUT; default on Domino: folder `scores` of the same data set;
#          SCORES_OUTPUT-monitoring: results and report of each night;
#          nightly/score.json in $DOMINO_ARTIFACTS_DIR, else in var: the summary of the run;
#          dominostats.json in $DOMINO_WORKING_DIR, else in the root: figures for the Jobs dashboard.
# Returns  the exit code of the nightly job, or 2 if the input or the output is not known.
#
# Relative paths start at the root of the repository. MLFLOW_TRACKING_URI and the Spark master are not changed.
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."

# The job runs the first spark-submit on PATH, and spark-submit the first python3.
if [[ -d .venv ]]; then
  export PATH="$PWD/.venv/bin:$PATH"
fi

summary="${DOMINO_ARTIFACTS_DIR:-var}/nightly/score.json"
stats="${DOMINO_WORKING_DIR:-.}/dominostats.json"
# After a failed run, the dashboard must not show the figures of the run before.
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
  echo "error: no input or no output: set REVIEWS_INPUT and SCORES_OUTPUT (on Domino, DOMINO_PROJECT_NAME sets both)" >&2
  exit 2
fi

# These options keep the driver's JVM small. Options from any other place come later, and win.
jvm_options="$(python3 -m sentiment.tables.jvm)"
export SPARK_SUBMIT_OPTS="$jvm_options${SPARK_SUBMIT_OPTS:+ $SPARK_SUBMIT_OPTS}"

# If the job fails, the script ends here with the exit code of the job.
python3 jobs/nightly.py --input "$input" --output "$output" "$@" --summary "$summary"

# The scores are published now, so missing figures do not make the run a failure.
python3 -m sentiment.domino.job_statistics "$summary" "$stats" ||
  echo "warning: the reviews are scored, but $stats could not be written" >&2
