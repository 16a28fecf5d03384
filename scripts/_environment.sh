# Shared by quickstart.sh and test.sh; sourced, not run. Makes .venv with the package in it.
# What is there already is used again. Everything lies in the checkout, except packages of Debian.
#
# TORCH=cuda       the torch of PyPI (gigabytes of CUDA packages) instead of a CPU one
# PYTHON=python3   the Python to make .venv of

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
STATE="$ROOT/.quickstart"
LOG="$STATE/setup.log"
TORCH_VERSION=2.13.0

# Nothing may be left behind in the home folder.
export AIIDA_PATH="$ROOT/.aiida"
export XDG_CACHE_HOME="$STATE/cache" MPLCONFIGDIR="$STATE/matplotlib"
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Modules are compiled when they are first imported; most of the 290 MB never are. Where that is switched off, each job
# would compile all that it imports: 18 s in place of 5 for one with MACE.
export PIP_COMPILE=0
unset PYTHONDONTWRITEBYTECODE
# One thread per job; as many jobs at once as there are cores.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

say() { printf '%s\n' "$*"; }

fail() {
    printf 'aiida-equitrain: %s\n' "$*" >&2
    exit 1
}

# step TEXT COMMAND...: one line on the terminal, all output in the log, the end of which is shown on failure.
step() {
    local text="$1" start=$SECONDS
    shift
    printf '  %s ... ' "$text"
    if "$@" >>"$LOG" 2>&1; then
        printf 'done (%d s)\n' "$((SECONDS - start))"
    else
        printf 'FAILED\n'
        tail -n 15 "$LOG" >&2
        fail "\"$text\" failed; the whole log is $LOG"
    fi
}

# as_root COMMAND...: run it as root, directly or through a sudo that asks for no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

ensure_pw() {
    if command -v pw.x >/dev/null; then
        return
    fi
    can_install || fail "pw.x of Quantum ESPRESSO is not on the PATH and cannot be installed from here: run" \
        "\"sudo apt-get install quantum-espresso libopenblas0-pthread\" (Debian, Ubuntu) or put a pw.x of your own on the PATH."
    # Without OpenBLAS, Debian's pw.x is six times slower.
    step 'Quantum ESPRESSO and OpenBLAS from Debian (a few minutes)' apt_install quantum-espresso libopenblas0-pthread
    command -v pw.x >/dev/null || fail 'quantum-espresso was installed, but there is no pw.x on the PATH: put it there.'
}

# AiiDA asks "ps" which jobs still run; without it every job counts as done at once.
ensure_ps() {
    command -v ps >/dev/null && return
    can_install || fail 'ps is not on the PATH, and AiiDA cannot follow its jobs without it: run "sudo apt-get install procps".'
    step 'procps from Debian' apt_install procps
}

# The tests of the pages need a browser; the product does not.
ensure_browser() {
    command -v chromium >/dev/null || command -v google-chrome >/dev/null && return
    can_install || return 0
    step 'Chromium from Debian, for the tests of the pages' apt_install chromium
}

python_is_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

ensure_python() {
    PYTHON="${PYTHON:-}"
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13}; do
        if command -v "$candidate" >/dev/null && python_is_enough "$candidate"; then
            PYTHON="$candidate"
            break
        fi
        PYTHON=''
    done
    [ -n "$PYTHON" ] || fail 'Python 3.11 or newer is not on the PATH: install it (Debian 12: "sudo apt-get install python3' \
        'python3-venv") or name it with PYTHON=/path/to/python3.'
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null && return
    can_install || fail "$PYTHON cannot make virtual environments: run \"sudo apt-get install python3-venv\"."
    step "python3-venv from Debian" apt_install python3-venv
}

# The stamp of what .venv was made of: it is made anew when the requirements change.
stamp_of() {
    { cat "$ROOT/pyproject.toml"; printf '%s %s %s' "$1" "${TORCH:-cpu}" "$ROOT"; } | sha256sum | cut -d' ' -f1
}

install_torch() {
    # The two builds have one version, so that pip would keep the wrong one.
    if [ "$(cat "$STATE/torch-kind" 2>/dev/null || echo none)" != "${TORCH:-cpu}" ]; then
        "$VENV/bin/pip" uninstall -y torch
    fi
    printf '%s\n' "${TORCH:-cpu}" >"$STATE/torch-kind"
    case "${TORCH:-cpu}" in
        cuda) "$VENV/bin/pip" install --progress-bar off "torch==$TORCH_VERSION" ;;
        cpu) install_cpu_torch ;;
    esac
}

# PyPI's torch for Linux wants CUDA packages of gigabytes, which no CPU needs. Where pip's own sources have no CPU build,
# PyTorch's are asked for one; without an answer it is PyPI's after all, which works as well, only larger.
install_cpu_torch() {
    local wanted
    wanted="$("$VENV/bin/pip" install --dry-run --quiet --report - "torch==$TORCH_VERSION" 2>/dev/null |
        grep -ciE '"name": "(nvidia|triton|cuda)' || true)"
    if [ "${wanted:-0}" != 0 ]; then
        "$VENV/bin/pip" install --progress-bar off --index-url https://download.pytorch.org/whl/cpu \
            "torch==$TORCH_VERSION" && return
        echo 'no CPU build of torch could be had: taking that of PyPI, with gigabytes of CUDA packages'
    fi
    "$VENV/bin/pip" install --progress-bar off "torch==$TORCH_VERSION"
}

# uv does in seconds what takes pip minutes. It does not know settings of pip (mirrors): where it gets nowhere, pip does it.
install_package() {
    if "$VENV/bin/pip" install --progress-bar off uv && UV_NO_CACHE=1 UV_HTTP_TIMEOUT=20 "$VENV/bin/uv" pip install \
        --no-progress --python "$VENV/bin/python" "torch==$TORCH_VERSION" --editable "$1"; then
        return
    fi
    echo 'not with uv: with pip'
    "$VENV/bin/pip" install --progress-bar off "torch==$TORCH_VERSION" --editable "$1"
}

# AIIDA_PATH for those who activate the environment, so that `verdi` and `aiida-equitrain` find the profile.
extend_activation() {
    grep -q 'aiida-equitrain' "$VENV/bin/activate" ||
        printf '\n# aiida-equitrain: the AiiDA configuration of this checkout.\nexport AIIDA_PATH="%s"\n' \
            "$AIIDA_PATH" >>"$VENV/bin/activate"
}

# ensure_venv train|dev
ensure_venv() {
    local kind="$1" package="$ROOT[train]" stamp
    [ "$kind" = train ] || package="$ROOT[train,dev]"
    stamp="$(stamp_of train)"
    if [ ! -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -c '' 2>/dev/null; then
        ensure_python
        step 'virtual environment .venv' "$PYTHON" -m venv --clear "$VENV"
        rm -f "$STATE"/stamp-*
    fi
    if [ "$(cat "$STATE/stamp-$kind" 2>/dev/null)" != "$stamp" ]; then
        step "torch $TORCH_VERSION (${TORCH:-cpu})" install_torch
        step 'aiida-equitrain with AiiDA, MACE and Equitrain' install_package "$package"
        extend_activation
        printf '%s\n' "$stamp" | tee "$STATE/stamp-train" >"$STATE/stamp-$kind"
    fi
    # Programs of the environment first, for the jobs too.
    export PATH="$VENV/bin:$PATH"
}

# ensure_family sevennet|nequix: they cannot share an environment with MACE. Only `test.sh --all` needs them; without one
# its tests are skipped.
ensure_family() {
    local name="$1" folder="$ROOT/.venv-$1" stamp
    stamp="$(cat "$ROOT/aiida_equitrain/setup/environment.py" "$ROOT/aiida_equitrain/setup/$name.py" | sha256sum |
        cut -d' ' -f1)"
    [ "$(cat "$STATE/stamp-$name" 2>/dev/null)" = "$stamp" ] && [ -x "$folder/bin/python" ] && return
    say "  $name in .venv-$name (two minutes, 2 GB) ..."
    if python -m aiida_equitrain.setup.extras "$name" "$folder" >>"$LOG" 2>&1; then
        say "  $name: done"
        printf '%s\n' "$stamp" >"$STATE/stamp-$name"
    else
        say "  $name: FAILED, so that tests with it cannot run: $(tail -n 1 "$LOG")"
        rm -rf "$folder"
    fi
}

# ensure_environment train|dev: all of it.
ensure_environment() {
    case "${TORCH:-cpu}" in
        cpu | cuda) ;;
        *) fail "TORCH=$TORCH is not known: use TORCH=cpu or TORCH=cuda." ;;
    esac
    mkdir -p "$STATE" "$AIIDA_PATH"
    : >>"$LOG"
    ensure_pw
    ensure_ps
    ensure_venv "$1"
}
