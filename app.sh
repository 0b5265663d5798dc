#!/usr/bin/env bash
# Start the Streamlit app on port 8888: in a Domino run for Domino's proxy, elsewhere only for this machine.
# APP_HOST and APP_PORT change address and port.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ -n "${DOMINO_PROJECT_ID:-}${DOMINO_RUN_ID:-}" ]]; then
  host=0.0.0.0
  # The proxy authenticates users. It also rewrites host and cookies, so these checks would make uploads fail
  # (streamlit#5793).
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

# Streamlit does not start without a home folder, which a user without an entry in passwd does not have.
if [[ -z "${HOME:-}" ]] && ! getent passwd "$(id -u)" >/dev/null; then
  export HOME="${TMPDIR:-/tmp}"
fi

# Streamlit adds only the folder of the page to the path.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Error details are off because an exception may contain a review, the file watcher because it scans torch.
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
