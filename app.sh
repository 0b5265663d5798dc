#!/usr/bin/env bash
# Starts the Streamlit app on port 8888: for Domino's proxy inside a Domino run, for this machine alone elsewhere.
# APP_HOST and APP_PORT change where it listens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ -n "${DOMINO_PROJECT_ID:-}${DOMINO_RUN_ID:-}" ]]; then
  host=0.0.0.0
  # The proxy authenticates, and rewrites host and cookies: with the checks on, uploads fail (streamlit#5793).
  protection=false
else
  host=127.0.0.1
  protection=true
fi

streamlit=streamlit
if [[ -x .venv/bin/streamlit ]]; then
  streamlit=.venv/bin/streamlit
elif ! command -v streamlit >/dev/null; then
  echo "error: app.sh: no streamlit in .venv or on PATH; install it with: pip install '.[app]'" >&2
  exit 127
fi

# Streamlit puts the page's own folder on the path, not this one.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Error details are off because an exception may quote a review; the watcher, because it walks through torch.
exec "$streamlit" run sentiment/dashboard/app.py \
  --server.address="${APP_HOST:-$host}" \
  --server.port="${APP_PORT:-8888}" \
  --server.headless=true \
  --server.enableXsrfProtection="$protection" \
  --server.enableCORS="$protection" \
  --server.fileWatcherType=none \
  --browser.gatherUsageStats=false \
  --client.showErrorDetails=none \
  --client.toolbarMode=viewer
