#!/usr/bin/env bash
# A cluster on this machine, and aiida-equitrain on it: Slurm with accounting and limits of memory behind sshd, as another user,
# with a Python that has no aiida-equitrain; AiiDA on PostgreSQL and RabbitMQ. Debian, as root.
#
#   bash scripts/cluster_test.sh           up, a material, a study, the faults, down
#   bash scripts/cluster_test.sh NAME ...  only these of scripts/cluster/scenarios.py (`list` names them)
#   bash scripts/cluster_test.sh up        bring it up and leave it, to try a cluster file of yours: see docs/howto/cluster.md
#   bash scripts/cluster_test.sh down      take it down
#
# CLUSTER_FOLDER  where all of it lies, /srv/equitrain-cluster if not given. The environment of the jobs (1.5 GB, minutes)
#                 and the logs stay there for the next time.
# An activated environment with aiida-equitrain is used as it is; else .venv is made.
set -euo pipefail
# shellcheck source=scripts/_environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
BASE="${CLUSTER_FOLDER:-/srv/equitrain-cluster}"
CONFIG="$ROOT/scripts/cluster"
# shellcheck source=scripts/cluster/services.sh
source "$CONFIG/services.sh"
COMPUTE="$BASE/env"
LOG="$BASE/log/cluster_test.log"

# phase TEXT COMMAND...: as `step`, for functions of several commands: the first that fails is the end.
phase() {
    local text="$1" start=$SECONDS status
    shift
    printf '  %s ... ' "$text"
    set +e
    (
        set -e
        "$@"
    ) >>"$LOG" 2>&1
    status=$?
    set -e
    if [ "$status" = 0 ]; then
        printf 'done (%d s)\n' "$((SECONDS - start))"
    else
        printf 'FAILED\n'
        tail -n 15 "$LOG" >&2
        fail "\"$text\" failed; the whole log is $LOG"
    fi
}

aiida_side() {
    # AiiDA's configuration and the ssh of this test, none of yours.
    export HOME="$BASE/home/aiida" AIIDA_PATH="$BASE/home/aiida"
    export CLUSTER_BASE="$BASE" CLUSTER_USER
}

ensure_aiida() {
    if ! python -c 'import aiida_equitrain, mace' 2>/dev/null; then
        mkdir -p "$STATE" "$ROOT/.aiida"
        LOG="$STATE/setup.log" ensure_venv train
    fi
    ensure_pw
}

# What jobs need, as docs/howto/cluster.md has it; of a Python that others may run (nothing below /root).
make_compute_environment() {
    rm -rf "$COMPUTE"
    /usr/bin/python3 -m venv "$COMPUTE"
    "$COMPUTE/bin/pip" install --progress-bar off "torch==$TORCH_VERSION" 'equitrain[torch,mace]==1.0.0' \
        mace-torch==0.3.16 'phonopy>=4,<5' 'symfc>=1.8' seekpath 'phono3py>=4.10,<5'
    "$COMPUTE/bin/python" -c 'import mace.calculators, equitrain, phonopy, symfc, seekpath, phono3py'
    touch "$COMPUTE/made"
}

make_profile() {
    verdi profile setup core.psql_dos -n --profile-name cluster --email cluster@localhost --first-name Test \
        --last-name Cluster --institution none --broker core.rabbitmq --database-hostname 127.0.0.1 \
        --database-port "$POSTGRES_PORT" --database-username aiida --database-password aiida --database-name aiida \
        --repository-uri "file://$BASE/home/aiida/repository"
    verdi profile configure-broker core.rabbitmq -n -f --broker-port "$RABBIT_PORT" cluster
    # RabbitMQ's consumer_timeout is off, which is what the warning is about.
    verdi config set warnings.rabbitmq_version False
    verdi config set daemon.timeout 60  # a busy machine
}

make_computer() {
    verdi computer setup -n -L cluster -H cluster -T core.ssh_async -S core.slurm -w "$BASE/scratch/{username}/aiida" \
        --mpiprocs-per-machine 1
    verdi computer configure core.ssh_async -n --safe-interval 2 cluster
}

set_up() {
    aiida-equitrain setup --offline --computer cluster --python "$COMPUTE/bin/python" --pw "$(command -v pw.x)" \
        --phonopy "$COMPUTE/bin/phonopy"
    # What a scenario disturbs has to run, and not to be the result of the one before.
    verdi config set caching.default_enabled False
}

bring_up() {
    require_debian_and_root
    mkdir -p "$BASE/log" "$BASE/run"
    phase 'packages of Debian' install_packages
    [ -e "$COMPUTE/made" ] || phase 'the environment of the jobs (minutes)' make_compute_environment
    ensure_aiida
    phase 'Slurm, sshd, PostgreSQL, RabbitMQ' start_cluster
    aiida_side
    if [ ! -e "$AIIDA_PATH/.aiida/config.json" ] || ! verdi profile show cluster >/dev/null 2>&1; then
        phase 'AiiDA profile on PostgreSQL and RabbitMQ' make_profile
        phase 'verdi computer setup' make_computer
        phase 'aiida-equitrain setup' set_up
    fi
    phase 'AiiDA daemon with two workers' verdi daemon start 2
}

take_down() {
    aiida_side
    if [ -e "$AIIDA_PATH/.aiida/config.json" ]; then verdi daemon stop >/dev/null 2>&1 || true; fi
    stop_cluster
}

# All but the environment and the logs.
clear_state() {
    find "$BASE" -mindepth 1 -maxdepth 1 ! -name env ! -name log -exec rm -rf {} +
}

case "${1:-}" in
    up)
        bring_up
        say "  to use it: export HOME=$HOME AIIDA_PATH=$AIIDA_PATH SLURM_CONF=$SLURM_CONF"
        ;;
    down)
        require_debian_and_root
        take_down
        clear_state
        ;;
    list) exec python "$CONFIG/scenarios.py" list ;;
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
    *)
        trap 'take_down' EXIT
        say 'aiida-equitrain: a cluster on this machine'
        bring_up
        status=0
        python "$CONFIG/scenarios.py" "$@" || status=$?
        take_down
        trap - EXIT
        [ "$status" = 0 ] && clear_state
        exit "$status"
        ;;
esac
