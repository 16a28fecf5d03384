#!/usr/bin/env bash
# A newcomer's hour in a quarter of one: what README tells to do, with small settings, on three crystals; expansion, phases and
# conductivity; the files of each result; then all pages in a browser, and all printed tables for numbers with units.
#
#   bash examples/first_hour.sh [FOLDER]      default: first-hour
#
# Needs aiida-equitrain with the extras `train` and `tests`, pw.x and Chromium. An AiiDA profile is made below FOLDER, which
# may be deleted afterwards. The numbers mean nothing: cells and training are as small as they may be. Exit status 0 if all
# is well. `scripts/test.sh --all` runs it.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
mkdir -p "${1:-first-hour}"
cd "${1:-first-hour}"
export AIIDA_PATH="$PWD/aiida" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
mkdir -p "$AIIDA_PATH" logs

equitrain() { aiida-equitrain -p equitrain "$@"; }

# hour NAME ARGUMENTS...: launch a job with its report in NAME, show it, and export what came out.
hour() {
    local name="$1" start=$SECONDS
    shift
    printf '%s: launch %s ... ' "$name" "$*"
    equitrain launch "$@" --protocol fast --label "$name" --report "$name" >"logs/$name.log" 2>&1 || {
        printf 'FAILED\n'
        tail -n 30 "logs/$name.log" >&2
        exit 1
    }
    local pk
    pk="$(equitrain list jobs --csv | sed -n 2p | cut -d, -f1)"
    equitrain show "$pk" >"logs/$name-show.log"
    equitrain export "$pk" "files/$name" >"logs/$name-export.log"
    printf 'done (%d s)\n' "$((SECONDS - start))"
}

python -m aiida_equitrain.setup.profile equitrain
equitrain setup --offline
python - <<'PYTHON'
from ase.build import bulk

for name, edge in (('MgO', 4.25), ('NaCl', 5.69), ('GeTe', 6.0)):
    bulk(name, 'rocksalt', a=edge).write(f'{name}.cif')
PYTHON
cp "$root/aiida_equitrain/resources/structures/Si.cif" "$root/examples/quartz.cif" .

# What it would cost, as the protocol is: it has to fit every crystal whose pseudopotentials ship.
for crystal in Si MgO NaCl quartz; do
    equitrain launch material "$crystal.cif" --protocol fast --dry-run | tee "logs/$crystal-dry.log"
    echo
done

# Cells of 8 and 16 atoms at the Γ point, two epochs.
cat >silicon.yaml <<'YAML'
label:
  min_frames: 2
  rattle: {volume_changes: [-0.02, 0.0, 0.02], min_length_angstrom: 5.0, max_length_angstrom: 8.0}
  selection: {frames_per_trajectory: 1}
  harmonic: {n_frames: 2, min_length_angstrom: 7.0}
  pw: {kpoints_distance: 1.0}
finetune: {train: {hyperparameters: {epochs: 2}}}
phonons: {settings: {min_length_angstrom: 7.0, mesh: [6, 6, 6]}}
dft_phonons:
  settings: {min_length_angstrom: 7.0, mesh: [6, 6, 6]}
  pw: {kpoints_distance: 1.0}
compare: {settings: {mesh: [6, 6, 6]}}
YAML
# One frame of 54 atoms, and no DFT to judge it: its error bars do.
cat >magnesia.yaml <<'YAML'
label: {harmonic: {n_frames: 1, min_length_angstrom: 7.0}, pw: {kpoints_distance: 1.0}}
phonons: {settings: {min_length_angstrom: 7.0, mesh: [6, 6, 6]}}
YAML
hour silicon material Si.cif --recipe mixed --overrides silicon.yaml
hour magnesia material MgO.cif --strategy none --no-dft --overrides magnesia.yaml

# Labels that others have published, of phonopy's examples.
equitrain data import "$root/tests/fixtures/rattled/NaCl-rd.tar.xz" --functional PBE --n-frames 8 --n-test 2 --label NaCl |
    tee logs/import.log
# pk NODE: that of the `dataset`, the `structure` or the `phonons` of the file.
pk() { sed -n "s/^$1 *PK \([0-9]*\).*/\1/p" logs/import.log; }
echo 'finetune: {train: {hyperparameters: {epochs: 2}}}' >two.yaml
hour rocksalt material "$(pk structure)" --dataset "$(pk dataset)" --reference "$(pk phonons)" --overrides two.yaml

hour phonons phonons NaCl.cif
hour expansion qha NaCl.cif
hour phases instability GeTe.cif
hour conductivity kappa Si.cif
echo 'train: {hyperparameters: {epochs: 2}}' >train.yaml
hour training finetune "$(pk dataset)" --overrides train.yaml
equitrain list jobs | tee logs/list.log

python - logs <<'PYTHON'
"""See that each result is printed as a table whose numbers have units."""
import re
import sys
from pathlib import Path

# What is a plain number, and lines about nodes.
PLAIN = ('Grüneisen parameter', 'dropped, as their DFT failed', 'potential', 'dataset')
ROW = re.compile(r'^  (\S.*?)  +([−+-]?\d[\d.,e+-]*)(.*)$')
for log in sorted(Path(sys.argv[1]).glob('*-show.log')):
    text = log.read_text()
    rows = [match.groups() for line in text.splitlines() if (match := ROW.match(line))]
    bare = [name for name, _, unit in rows if not unit.strip() and not name.startswith(PLAIN)]
    # Phases and conductivities have tables of their own.
    assert rows or re.search(r'meV/atom|\d K: [\d.]+ W/m/K', text), f'{log}: no table'
    assert not bare, f'{log}: no unit of {bare}'
    print(f'{log}: {len(rows)} numbers, all with units')
PYTHON
python "$root/scripts/check_pages.py" silicon magnesia rocksalt phonons expansion phases conductivity training --pictures pictures
