#!/usr/bin/env bash
# What a GPU gives, on a machine with one, torch and no AiiDA: one call, minutes; prints the table of gpu_check.py.
#
#   bash benchmarks/gpu_check.sh wheels [FOLDER]    where pip works: the packages that the other machine lacks (.whl)
#   bash benchmarks/gpu_check.sh [OPTIONS]          there; options are those of gpu_check.py
#
# Wheels are for Python 3.12; of a machine with another Python set GPU_PYTHON, such as 3.11.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
packages=(mace-torch==0.3.16 equitrain==1.0.0 e3nn==0.4.4 ase==3.29.0 matscipy opt-einsum opt-einsum-fx torch-ema
    prettytable wcwidth configargparse python-hostlist lmdb orjson GitPython gitdb smmap)
if [ "${1:-}" = wheels ]; then
    folder="${2:-$root/.whl}"
    platforms=()
    for name in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
        platforms+=(--platform "${name}_x86_64")
    done
    python3 -m pip wheel --no-deps -q -w "$folder" python-hostlist configargparse  # of some there is the source only
    for package in "${packages[@]}"; do
        python3 -m pip download -q --no-deps --only-binary=:all: --python-version "${GPU_PYTHON:-3.12}" \
            --implementation cp "${platforms[@]}" -d "$folder" --find-links "$folder" "$package"
    done
    du -sh "$folder"
    exit
fi
site="$(mktemp -d)"
trap 'rm -rf "$site"' EXIT
if compgen -G "$root/.whl/*.whl" >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$root"/.whl/*.whl
fi
PYTHONPATH="$site" python3 -W ignore "$root/benchmarks/gpu_check.py" "$@"
