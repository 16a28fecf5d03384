# Start and stop a cluster of one node on this machine; sourced by cluster_test.sh, not run. Debian, root, no systemd.
# Slurm with accounting, limits of memory and a GPU that is none, behind sshd on the loopback device with a user of its
# own; PostgreSQL and RabbitMQ for AiiDA. All of it lies in $BASE, and is known by the ids in $BASE/run.

CLUSTER_USER=equitraincluster
PACKAGES=(munge slurm-wlm slurmdbd mariadb-server openssh-server openssh-client rabbitmq-server postgresql)
# Others, and another $BASE, for services of your own beside these.
POSTGRES_PORT="${POSTGRES_PORT:-55432}" RABBIT_PORT="${RABBIT_PORT:-55672}" EPMD_PORT="${EPMD_PORT:-54369}"
export SLURM_CONF="$BASE/slurm/slurm.conf"

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1)) what="$2"
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "$what did not come up: see $BASE/log"
        sleep 0.5
    done
}

# background NAME COMMAND...: its id in run/NAME.pid, its output in log/NAME.log.
background() {
    local name="$1"
    shift
    setsid nohup "$@" >>"$BASE/log/$name.log" 2>&1 </dev/null &
    echo $! >"$BASE/run/$name.pid"
}

# end NAME: the program of run/NAME.pid, politely and then not.
end() {
    local file="$BASE/run/$1.pid" id
    [ -s "$file" ] || return 0
    id="$(cat "$file")"
    kill "$id" 2>/dev/null || true
    for _ in $(seq 40); do
        kill -0 "$id" 2>/dev/null || break
        sleep 0.25
    done
    kill -9 "$id" 2>/dev/null || true
    rm -f "$file"
}

# end_with_children NAME: what it has started as well, such as the connections of sshd.
end_with_children() {
    local children
    children="$(pgrep -P "$(cat "$BASE/run/$1.pid")" || true)"
    end "$1"
    # shellcheck disable=SC2086 # one word each
    [ -z "$children" ] || kill $children 2>/dev/null || true
}

require_debian_and_root() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail 'the test cluster needs Debian and root (a container will' \
        "do): it starts ${PACKAGES[*]} of Debian on the loopback device, and a user $CLUSTER_USER."
}

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    # Debian starts what it installs; these have to stay down.
    local policy=/usr/sbin/policy-rc.d made=false
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; made=true; }
    apt_install "${missing[@]}"
    if $made; then rm -f "$policy"; fi
}

make_folders() {
    mkdir -p "$BASE"/{munge,slurm/spool,slurm/state,log,run,mysql,pg,rabbit/mnesia,rabbit/log,ssh,home/aiida/.ssh,scratch}
    chmod 755 "$BASE"
    id "$CLUSTER_USER" >/dev/null 2>&1 || {
        useradd --no-log-init -m -d "$BASE/home/$CLUSTER_USER" -s /bin/bash "$CLUSTER_USER"
        usermod -p '*' "$CLUSTER_USER"
        touch "$BASE/run/user-made"
    }
    local cgroup='CgroupPlugin=cgroup/v1'
    [ -d /sys/fs/cgroup/memory ] || cgroup=$'CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes'
    local cpus memory
    cpus="$(env -u OMP_NUM_THREADS nproc)"
    memory="$(awk '/MemAvailable/ {print int($2 / 1024 * 0.7)}' /proc/meminfo)"
    local file text
    for file in slurm.conf gres.conf cgroup.conf slurmdbd.conf; do
        text="$(cat "$CONFIG/$file")"
        text="${text//@BASE@/$BASE}"
        text="${text//@CGROUP@/$cgroup}"
        text="${text//@CPUS@/$cpus}"
        text="${text//@MEMORY@/$memory}"
        printf '%s\n' "${text//@HOST@/$(hostname -s)}" >"$BASE/slurm/$file"
    done
    chmod 600 "$BASE/slurm/slurmdbd.conf"
    sed "s|@BASE@|$BASE|; s|@USER@|$CLUSTER_USER|" "$CONFIG/sshd_config" >"$BASE/ssh/sshd_config"
    [ -e "$BASE/slurm/gpu0" ] || { mknod "$BASE/slurm/gpu0" c 1 3; chmod 666 "$BASE/slurm/gpu0"; }
}

start_munge() {
    [ -f "$BASE/munge/munge.key" ] || head -c 1024 /dev/urandom >"$BASE/munge/munge.key"
    chown -R munge:munge "$BASE/munge"
    chmod 755 "$BASE/munge"
    chmod 400 "$BASE/munge/munge.key"
    runuser -u munge -- munged --key-file="$BASE/munge/munge.key" --socket="$BASE/munge/munge.socket" \
        --pid-file="$BASE/munge/munged.pid" --log-file="$BASE/munge/munged.log" --seed-file="$BASE/munge/munge.seed"
    ln -sf "$BASE/munge/munged.pid" "$BASE/run/munged.pid"
}

start_accounts() {
    [ -d "$BASE/mysql/mysql" ] || mariadb-install-db --no-defaults --user=mysql --datadir="$BASE/mysql" --skip-test-db \
        >"$BASE/log/mysql-install.log" 2>&1
    chown -R mysql "$BASE/mysql"
    background mariadb mariadbd --no-defaults --user=mysql --datadir="$BASE/mysql" --socket="$BASE/mysql/s.sock" \
        --bind-address=127.0.0.1 --port=53306 --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900
    wait_for 60 MariaDB mariadb --no-defaults -S "$BASE/mysql/s.sock" -e 'select 1'
    mariadb --no-defaults -S "$BASE/mysql/s.sock" -e "create database if not exists slurm_acct_db;
        create user if not exists slurm@localhost identified by 'slurm';
        create user if not exists slurm@127.0.0.1 identified by 'slurm';
        grant all on slurm_acct_db.* to slurm@localhost; grant all on slurm_acct_db.* to slurm@127.0.0.1"
    background slurmdbd slurmdbd -D
    wait_for 60 slurmdbd sacctmgr -n list cluster
}

start_slurmctld() {
    background slurmctld slurmctld -D -f "$SLURM_CONF"
    wait_for 60 slurmctld scontrol ping
    wait_for 60 'the answer of slurmctld' sinfo
}

start_slurmd() {
    background slurmd slurmd -D -f "$SLURM_CONF"
    wait_for 60 'the node' node_is_up
}

node_is_up() {
    scontrol update nodename=localhost state=resume 2>/dev/null || true
    sinfo -h -o %t | grep -qE '^(idle|mix|alloc)$'
}

# In the foreground: daemonised by itself it reset every connection.
start_sshd() {
    background sshd /usr/sbin/sshd -D -e -f "$BASE/ssh/sshd_config"
    wait_for 30 sshd ssh-keyscan -T 2 -p 52222 127.0.0.1
}

make_keys() {
    local aiida="$BASE/home/aiida/.ssh" user="$BASE/home/$CLUSTER_USER/.ssh"
    [ -f "$BASE/ssh/host_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$BASE/ssh/host_key"
    [ -f "$aiida/id" ] || ssh-keygen -q -t ed25519 -N '' -f "$aiida/id"
    mkdir -p /run/sshd "$user"
    cp "$aiida/id.pub" "$user/authorized_keys"
    chown -R "$CLUSTER_USER:" "$BASE/home/$CLUSTER_USER" "$BASE/scratch"
    printf '[127.0.0.1]:52222 %s\n' "$(cut -d' ' -f1,2 "$BASE/ssh/host_key.pub")" >"$aiida/known_hosts"
    printf 'Host cluster\n  HostName 127.0.0.1\n  Port 52222\n  User %s\n  IdentityFile %s\n' \
        "$CLUSTER_USER" "$aiida/id" >"$aiida/config"
    chmod 700 "$aiida"
    chmod 600 "$aiida/config"
}

postgres() {
    runuser -u postgres -- "$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)/$1" "${@:2}"
}

start_postgres() {
    chown postgres "$BASE/pg"
    touch "$BASE/log/pg.log"
    chown postgres "$BASE/log/pg.log"
    [ -f "$BASE/pg/PG_VERSION" ] || postgres initdb -D "$BASE/pg" -A trust -E UTF8 >"$BASE/log/initdb.log" 2>&1
    postgres pg_ctl -D "$BASE/pg" -o "-p $POSTGRES_PORT -k $BASE/pg -c listen_addresses=127.0.0.1" -l "$BASE/log/pg.log" \
        -w start >>"$BASE/log/initdb.log"
    postgres psql -h 127.0.0.1 -p "$POSTGRES_PORT" -tAc "select 1 from pg_database where datname = 'aiida'" | grep -q 1 ||
        postgres psql -q -h 127.0.0.1 -p "$POSTGRES_PORT" -c "create role aiida login password 'aiida'" \
            -c 'create database aiida owner aiida'
}

start_rabbit() {
    # Jobs of hours are acknowledged when they end: RabbitMQ must not give up before.
    printf '[{rabbit, [{consumer_timeout, undefined}, {tcp_listeners, [{"127.0.0.1", %s}]}]}].\n' "$RABBIT_PORT" \
        >"$BASE/rabbit/advanced.config"
    chown -R rabbitmq "$BASE/rabbit"
    cd "$BASE/rabbit"
    background rabbit-start runuser -u rabbitmq -- env RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_MNESIA_BASE="$BASE/rabbit/mnesia" \
        RABBITMQ_LOG_BASE="$BASE/rabbit/log" RABBITMQ_ADVANCED_CONFIG_FILE="$BASE/rabbit/advanced.config" \
        RABBITMQ_CONFIG_FILE="$BASE/rabbit/none" RABBITMQ_NODE_PORT="$RABBIT_PORT" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
        RABBITMQ_DIST_PORT="$((RABBIT_PORT + 1))" ERL_EPMD_PORT="$EPMD_PORT" ERL_EPMD_ADDRESS=127.0.0.1 HOME="$BASE/rabbit" \
        RABBITMQ_PID_FILE="$BASE/rabbit/pid" RABBITMQ_ENABLED_PLUGINS_FILE="$BASE/rabbit/enabled_plugins" \
        /usr/lib/rabbitmq/bin/rabbitmq-server
    cd - >/dev/null
    wait_for 90 RabbitMQ bash -c "exec 3<>/dev/tcp/127.0.0.1/$RABBIT_PORT"
    ln -sf "$BASE/rabbit/pid" "$BASE/run/rabbit.pid"
}

start_cluster() {
    make_folders
    start_munge
    make_keys
    start_accounts
    start_slurmctld
    start_slurmd
    start_sshd
    start_postgres
    start_rabbit
}

stop_cluster() {
    [ -d "$BASE/run" ] || return 0
    scancel -u "$CLUSTER_USER" 2>/dev/null || true
    end sshd
    end slurmd
    end slurmctld
    end slurmdbd
    end mariadb
    end munged
    [ ! -f "$BASE/pg/postmaster.pid" ] || postgres pg_ctl -D "$BASE/pg" -m fast -w stop >/dev/null 2>&1 || true
    end rabbit
    end rabbit-start
    ERL_EPMD_PORT="$EPMD_PORT" epmd -kill >/dev/null 2>&1 || true
    find /sys/fs/cgroup -maxdepth 2 -name 'slurm*' -type d -exec find {} -depth -type d -exec rmdir {} \; \
        >/dev/null 2>&1 || true
    if [ -e "$BASE/run/user-made" ]; then userdel "$CLUSTER_USER" 2>/dev/null || true; fi
}
