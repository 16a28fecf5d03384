#!/usr/bin/env bash
# From a fresh machine to the first result: sets everything up and runs the main job on silicon.
#
#   bash scripts/quickstart.sh            offline parts (starter potential, shipped pseudopotentials)
#   bash scripts/quickstart.sh --online   PseudoDojo's whole table and MACE-MP-0b3 are downloaded, where possible
#   bash scripts/quickstart.sh --with nequix   online, and Nequix with it: the best foundation from the first minute
#   bash scripts/quickstart.sh --setup    only the set-up
#
# A second run uses what is there. Deleting the checkout leaves nothing behind but packages of Debian.
set -euo pipefail
# shellcheck source=scripts/_environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

offline=--offline
launch=true
extras=()
while [ $# -gt 0 ]; do
    case "$1" in
        --online) offline='' ;;
        --with)
            case "${2:-}" in
                nequix | sevennet) extras+=(--with "$2") ;;
                *) fail "--with takes nequix or sevennet, not \"${2:-}\"" ;;
            esac
            offline=''
            shift
            ;;
        --setup) launch=false ;;
        -h | --help)
            sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        *) fail "unknown option $1: see bash scripts/quickstart.sh --help" ;;
    esac
    shift
done

# The daemon that this script started is stopped at the end; after Ctrl-C it goes on with the job.
daemon=''
launched=false
finish() {
    if [ -n "$daemon" ]; then
        # One that is still starting cannot be stopped.
        wait "$daemon" || true
        verdi -p equitrain daemon stop >>"$LOG" 2>&1 || true
    fi
}
interrupted() {
    say
    if $launched; then
        daemon=''
        say 'Interrupted; the job goes on in the background, and the same command shows it again. To stop it all:'
        say '  source .venv/bin/activate; verdi daemon stop'
    else
        say 'Interrupted. Run the same command again: what is done is used again.'
    fi
    exit 130
}
trap finish EXIT
trap interrupted INT TERM

say 'aiida-equitrain: set-up'
# A first run has no daemon at work and no job to go on with; to ask AiiDA takes seconds.
first=true
[ ! -e "$AIIDA_PATH/config.json" ] || first=false
ensure_environment train
# Modules are compiled when they are first imported: those of the jobs meanwhile, on another core.
python -c 'import mace.calculators, equitrain, phonopy, symfc, seekpath' >>"$LOG" 2>&1 &
step 'AiiDA profile equitrain' python -m aiida_equitrain.setup.profile equitrain
# One worker keeps all jobs in flight; the jobs are what needs the cores. It starts while the set-up goes on.
if $launch && { $first || ! verdi -p equitrain daemon status >/dev/null 2>&1; }; then
    verdi -p equitrain daemon start 1 >>"$LOG" 2>&1 &
    daemon=$!
fi
# shellcheck disable=SC2086
aiida-equitrain -p equitrain setup $offline "${extras[@]}" | tee -a "$LOG" | sed 's/^/  /'

$launch || exit 0

[ -z "$daemon" ] || step 'AiiDA daemon' wait "$daemon"

report="$ROOT/quickstart-report"
launched=true
# A run that was interrupted goes on with the daemon; its jobs are then found again by caching.
running() { verdi -p equitrain process list -r -P pk -L MaterialWorkChain 2>>"$LOG" | grep -oE '^[0-9]+'; }
for pk in $($first || running); do
    say
    say "aiida-equitrain: an earlier run (PK $pk) is not finished and goes on first"
    aiida-equitrain -p equitrain launch follow "$pk" || true
done

say
say 'aiida-equitrain: silicon, from the crystal to a fine-tuned potential and its phonons'
aiida-equitrain -p equitrain launch material "$ROOT/aiida_equitrain/resources/structures/Si.cif" \
    --protocol fast --overrides "$ROOT/examples/quickstart.yaml" --dft --report "$report"

say
say 'In a new shell, `source .venv/bin/activate` first: it finds the profile of this checkout.'
