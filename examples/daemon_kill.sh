#!/usr/bin/env bash
# Kill the daemon (SIGKILL) in the middle of a material run, start it again, and see that nothing is lost.
#
#   bash examples/daemon_kill.sh [FILE.yaml]      overrides of the inputs, such as smaller cells
#
# Uses the profile `equitrain` of AIIDA_PATH, with the codes of `aiida-equitrain setup`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${PROFILE:-equitrain}
overrides=${1:+--overrides $1}

verdi -p "$profile" daemon status >/dev/null 2>&1 || verdi -p "$profile" daemon start 1
# shellcheck disable=SC2086
pk=$(aiida-equitrain -p "$profile" launch material aiida_equitrain/resources/structures/Si.cif --protocol fast \
    $overrides --submit | sed -n 's/^Submitted MaterialWorkChain \([0-9]*\)\.$/\1/p')
echo "MaterialWorkChain $pk is submitted"

jobs_in_flight() {
    verdi -p "$profile" process list -r -S waiting 2>/dev/null | wc -l
}
for _ in $(seq 120); do
    [ "$(jobs_in_flight)" -ge 4 ] && break
    sleep 1
done
folder=$(python -c "
from aiida import load_profile
load_profile('$profile')
from aiida.engine.daemon.client import get_daemon_client
client = get_daemon_client()
print(client.get_daemon_pid(), *client.get_worker_info()['info'])")
echo "killing the daemon and its workers: $folder"
# shellcheck disable=SC2086
kill -9 $folder
sleep 3
verdi -p "$profile" daemon start 1
aiida-equitrain -p "$profile" launch follow "$pk"
failed=$(verdi -p "$profile" process list -a -r -S excepted -S killed 2>/dev/null | wc -l)
echo "MaterialWorkChain $pk is done; processes that were lost: $failed"
[ "$failed" -eq 0 ]
