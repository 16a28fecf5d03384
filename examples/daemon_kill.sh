#!/usr/bin/env bash
# Kill the daemon (SIGKILL) in the middle of a material run, start it again, and see that nothing is lost: once while DFT
# runs and once while the potential is trained.
#
#   bash examples/daemon_kill.sh [OVERRIDES.yaml]      default: examples/tiny.yaml
#
# Uses the profile `equitrain` (or PROFILE) of AIIDA_PATH, with the codes of `aiida-equitrain setup`, and kills the daemon
# of that profile only. Exit code 0 if the run finished and no job was lost or doubled.
set -euo pipefail
examples="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
profile=${PROFILE:-equitrain}
overrides=${1:-$examples/tiny.yaml}
crystal="$examples/../aiida_equitrain/resources/structures/Si.cif"

# ask QUESTION PK [KIND]: asks the database.
ask() {
    verdi -p "$profile" run "$examples/daemon_kill.py" "$@"
}

# kill_daemon: the daemon itself (circus) and its children (workers, broker), none of which can say goodbye.
kill_daemon() {
    local daemon children
    daemon=$(ask daemon | tail -n 1)
    children=$(pgrep -P "$daemon" | tr '\n' ' ')
    echo "killing the daemon $daemon and its children $children"
    # shellcheck disable=SC2086
    kill -9 "$daemon" $children
    sleep 2
    if verdi -p "$profile" daemon status >/dev/null 2>&1; then
        echo 'the daemon is still there' >&2
        exit 1
    fi
}

verdi -p "$profile" daemon status >/dev/null 2>&1 || verdi -p "$profile" daemon start 1
# The seed is a new one, as otherwise a second run would take everything from the cache.
pk=$(aiida-equitrain -p "$profile" launch material "$crystal" --protocol fast --seed "$(date +%s)" \
    --overrides "$overrides" --submit | sed -n 's/^Submitted MaterialWorkChain \([0-9]*\)\.$/\1/p')
[ -n "$pk" ] || { echo 'nothing was submitted' >&2; exit 1; }
echo "MaterialWorkChain $pk is submitted"

for kind in PwCalculation TrainCalculation; do
    ask wait "$pk" "$kind"
    kill_daemon
    verdi -p "$profile" daemon start 1
done
aiida-equitrain -p "$profile" launch follow "$pk"
ask check "$pk"
