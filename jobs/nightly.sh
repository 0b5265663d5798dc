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
# Returns  the exit code of the nightly job, or 2 if the input or the output is not known, or the machine lacks
#          something: Java 17, the packages, a place to write to.
#
# Relative paths start at the root of the repository. MLFLOW_TRACKING_URI and the Spark master are not changed.
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."

refuse() {
  echo "error: $1" >&2
  exit 2
}

# Succeed if a file can be written, in folders that may have to be made first.
can_write() {
  local folder
  folder="$(dirname -- "$1")"
  while [[ ! -e $folder ]]; do folder="$(dirname -- "$folder")"; done
  [[ -d $folder && -w $folder && (! -e $1 || -w $1) ]]
}

# Java decodes arguments and file names by the locale, and a scheduler often sets none.
if [[ "$(locale charmap 2>/dev/null)" != UTF-8 ]]; then
  export LC_ALL=C.UTF-8
fi

# The job runs the first spark-submit on PATH, and spark-submit the first python3.
if [[ -d .venv ]]; then
  export PATH="$PWD/.venv/bin:$PATH"
fi

summary="${DOMINO_ARTIFACTS_DIR:-var}/nightly/score.json"
stats="${DOMINO_WORKING_DIR:-.}/dominostats.json"
can_write "$summary" || refuse "cannot write $summary; set DOMINO_ARTIFACTS_DIR to a folder for the summary"
# After a failed run, the dashboard must not show the figures of the run before.
rm -f -- "$summary" "$stats" || refuse "cannot remove $stats; set DOMINO_WORKING_DIR to a folder for it"

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

java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
java_version="$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' || true)"
((${java_version:-0} >= 17)) ||
  refuse "Spark needs Java 17 or newer, found ${java_version:-none} ($java); install it, or set JAVA_HOME"
python3 -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("pyspark", "sentiment", "mlflow"))))' ||
  refuse "$(command -v python3 || echo python3) lacks pyspark, sentiment or mlflow; install: pip install '.[demo]'"
[[ -z ${SPARK_REMOTE:-} ]] ||
  refuse "SPARK_REMOTE is set, but the job needs a Spark driver of its own, not Spark Connect; unset it"
# Hadoop, inside Spark, finds no user otherwise, whatever HADOOP_USER_NAME says.
getent passwd "$(id -u)" >/dev/null ||
  refuse "user $(id -u) has no entry in /etc/passwd, which Spark needs; run as a user that has one, or mount one"
temporary="${TMPDIR:-/tmp}"
[[ -d $temporary && -w $temporary ]] ||
  refuse "cannot write to $temporary; set TMPDIR to a folder for temporary files"

# These options keep the driver's JVM small. Options from any other place come later, and win.
jvm_options="$(python3 -m sentiment.tables.jvm)"
# Java does not know TMPDIR.
jvm_options+="${TMPDIR:+ -Djava.io.tmpdir=\"$TMPDIR\"}"
export SPARK_SUBMIT_OPTS="$jvm_options${SPARK_SUBMIT_OPTS:+ $SPARK_SUBMIT_OPTS}"

# If the job fails, the script ends here with the exit code of the job.
python3 jobs/nightly.py --input "$input" --output "$output" "$@" --summary "$summary"

# The scores are published now, so missing figures do not make the run a failure.
python3 -m sentiment.domino.job_statistics "$summary" "$stats" ||
  echo "warning: the reviews are scored, but $stats could not be written" >&2
