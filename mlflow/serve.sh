#!/usr/bin/env bash
# An MLflow tracking server for several machines or people, over the local store of this folder:
#   mlflow/serve.sh [PORT] [HOST]        default: 5000 127.0.0.1
# Searches then take --tracking-uri http://HOST:PORT. For one machine, `python run_search.py ui`
# shows the same store and nothing here is needed. The server answers to localhost, private
# addresses, HOST and this machine's name; to reach it under any other, set
# MLFLOW_SERVER_ALLOWED_HOSTS=NAME:PORT, with commas between several, instead of all of these.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
port="${1:-5000}"
host="${2:-127.0.0.1}"
python="${PYTHON:-$root/.venv/bin/python}"
store="${MLFLOW_STORE:-$here/store}"
if [[ ! -x "$(command -v "$python")" ]]; then
  echo "serve.sh: $python is not there: run \`make setup\`, or set PYTHON" >&2
  exit 2
fi
mkdir -p "$store"
store="$(cd "$store" && pwd)"
# Naming one replaces MLflow's own list, so that is here too; [[] is a bracket in a pattern.
names="$(printf '%s,' localhost{,:\*} 127.0.0.1{,:\*} 0.0.0.0{,:\*} '[::1]' '[[]::1]:*')"
names+="10.*,192.168.*,$(printf '172.%s.*,' {16..31})fc00:*,fd00:*"
names+=",$HOSTNAME:*,${host//\[/[[]}:*"
export MLFLOW_SERVER_ALLOWED_HOSTS="${MLFLOW_SERVER_ALLOWED_HOSTS:-$names}"
# Without its job runner: eight processes that serve nothing of ours.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
# MLflow's own server, but its first page is that of `ui`: all searches, and no assistant.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1
cd "$store"
exec "$python" -m search.tracking.ui_server server \
  --backend-store-uri "sqlite:///$store/mlflow.db" \
  --artifacts-destination "file://$store/artifacts" \
  --host "$host" --port "$port" --workers 1
