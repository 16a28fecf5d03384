#!/usr/bin/env bash
# Run every WorkChain at its smallest and draw what it calls: the pictures of docs/topics/provenance.md.
#
#   bash scripts/make_pictures.sh [DATA] [FOLDER]      default: ../shared/reference/rattled pictures
#
# DATA holds Si-111-222-rd.tar.xz, DFT data of phonopy's examples. Needs pw.x, ph.x, phono3py and Graphviz (`dot`).
# An AiiDA profile is made below FOLDER, which may be deleted afterwards. Minutes on two cores; no number means anything.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
data="$(realpath "${1:-$root/../shared/reference/rattled}")"
command -v dot >/dev/null || { echo 'there is no dot on the PATH: install Graphviz' >&2; exit 1; }
mkdir -p "${2:-pictures}"
cd "${2:-pictures}"
export AIIDA_PATH="$PWD/aiida" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
mkdir -p "$AIIDA_PATH"

equitrain() { aiida-equitrain -p pictures "$@"; }

# small JOB ARGUMENTS... <<<YAML: run it with the inputs of standard input over the protocol `fast`.
small() {
    cat >"$1.yaml"
    equitrain launch "$@" --protocol fast --overrides "$1.yaml"
}

verdi profile show pictures >/dev/null 2>&1 || {
    verdi profile setup core.sqlite_dos -n --profile-name pictures --email pictures@example.org
    equitrain setup --offline
}
python - <<'PYTHON'
from ase.build import bulk

bulk('GeTe', 'rocksalt', a=6.0).write('GeTe.cif')
bulk('NaCl', 'rocksalt', a=5.69).write('NaCl.cif')
PYTHON
silicon="$root/aiida_equitrain/resources/structures/Si.cif"

# The main job: labels, training, phonons with the potential and with DFT, the comparison.
small material "$silicon" <"$root/examples/tiny.yaml"

imported="$(equitrain data import "$data/Si-111-222-rd.tar.xz" --functional PBE --n-frames 6 --n-test 2 --label Si \
    --group crystals)"
# pk NODE: that of the `dataset`, the `structure` or the `phonons` of the file.
pk() { sed -n "s/^$1 *PK \([0-9]*\).*/\1/p" <<<"$imported"; }

small finetune "$(pk dataset)" --n-seeds 2 <<<'train: {hyperparameters: {epochs: 2}}'
small active-learning "$(pk structure)" "$(pk dataset)" --reference "$(pk phonons)" <<'YAML'
settings: {n_start: 2, n_per_round: 2, max_train: 4}
committee: {finetune: {train: {hyperparameters: {epochs: 2}}}}
phonons: {settings: {min_length_angstrom: 7.0}}
compare: {settings: {mesh: [5, 5, 5]}}
YAML
small study crystals --strategies l2-tsp,transfer --sizes 3,5 <<'YAML'
material:
  finetune: {train: {hyperparameters: {epochs: 2}}}
  phonons: {settings: {min_length_angstrom: 7.0}}
  compare: {settings: {mesh: [5, 5, 5]}}
YAML
small label "$silicon" --recipe harmonic <<<'harmonic: {n_frames: 1, min_length_angstrom: 5.0, relax: none}'
small phonons NaCl.cif --born-charges <<'YAML'
settings: {min_length_angstrom: 5.0, mesh: [4, 4, 4], elastic: true}
born_charges: {charge_tolerance: 0.8, scf: {kpoints_distance: 0.6, pw: {parameters: {SYSTEM: {ecutwfc: 30.0}}}}}
YAML
small instability GeTe.cif <<<'phonons: {settings: {min_length_angstrom: 7.0}}'
small qha NaCl.cif <<<'settings: {min_length_angstrom: 7.0}'
small kappa "$silicon" <<<'settings: {min_length_angstrom: 5.0, mesh: [4, 4, 4]}'

python "$root/scripts/make_pictures.py" pictures
