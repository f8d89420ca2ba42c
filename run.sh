#!/usr/bin/env bash
# The quick start: one training, one submission. ./run.sh -o DIR [-bce] [-i FILE], ./run.sh -h
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$root/.venv/bin/python}
if [[ ! -x $(command -v "$python") ]]; then
  echo "error: $python is missing: run 'make setup' in $root first, or set PYTHON" >&2
  exit 2
fi
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -P -m recsys.quickstart "$@"
