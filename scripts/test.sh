#!/usr/bin/env bash
# Set up the environment (shared with quickstart.sh) and run ruff, mypy and the tests.
#
#   bash scripts/test.sh         all but the tests that are marked `thorough`
#   bash scripts/test.sh --all   those too, with the environments of SevenNet and Nequix (two minutes and 2 GB each,
#                                once; SEVENNET=no, NEQUIX=no: without), a newcomer's hour with all pages in a browser
#                                (examples/first_hour.sh; HOUR=no: without), and, on Debian as root, a cluster
#                                (scripts/cluster_test.sh; CLUSTER=no: without)
#
# Other arguments go to pytest; an `-m` of yours replaces the choice of tests.
set -euo pipefail
selection=(-m 'not thorough')
if [ "${1:-}" = --all ]; then
    selection=()
    shift
fi
# shellcheck source=scripts/_environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

say 'aiida-equitrain: set-up'
ensure_environment dev
# Minutes of downloads, while ruff and mypy run.
{
    ensure_browser
    [ ${#selection[@]} -gt 0 ] || [ "${SEVENNET:-yes}" = no ] || ensure_family sevennet
    [ ${#selection[@]} -gt 0 ] || [ "${NEQUIX:-yes}" = no ] || ensure_family nequix
} >"$STATE/for-tests.log" &
downloads=$!

# The tests make AiiDA configurations of their own; this one keeps all others out of reach.
AIIDA_PATH="$(mktemp -d)"
export AIIDA_PATH
trap 'rm -rf "$AIIDA_PATH"' EXIT
cd "$ROOT"
say 'ruff'
ruff check .
ruff format --check .
say 'mypy'
mypy
wait "$downloads" || fail "$(cat "$STATE/for-tests.log")"
cat "$STATE/for-tests.log"
say 'pytest'
# One file per core at a time: a real run is one job after the other. (nproc would count the threads of a job.)
# A worker that crashed is the end: with another in its place, xdist waits for ever.
python -m pytest -n "$(env -u OMP_NUM_THREADS nproc)" --dist loadfile --no-loadscope-reorder --max-worker-restart 0 \
    --durations 20 "${selection[@]}" "$@"
if [ ${#selection[@]} = 0 ] && [ $# = 0 ] && [ "${HOUR:-yes}" != no ]; then
    say "a newcomer's hour"
    bash "$ROOT/examples/first_hour.sh" "$AIIDA_PATH/first-hour"
fi
if [ ${#selection[@]} = 0 ] && [ $# = 0 ] && [ "${CLUSTER:-yes}" != no ] && [ "$(id -u)" = 0 ] && can_install; then
    bash "$ROOT/scripts/cluster_test.sh"
fi
