#!/usr/bin/env bash
# A study of three crystals from DFT data that exist, published, and reproduced on a second, empty profile.
#
#   bash examples/study.sh [DATA] [FOLDER]      default: ../shared/reference/rattled study-example
#
# DATA holds the rattled supercells of Si, NaCl and AlN that docs/tutorial/study.md names. No pw.x runs. Two AiiDA profiles
# are made below FOLDER, which may be deleted afterwards. About half an hour on two cores. Ends with the table of
# `reproduce`; exit status 0 if the errors come out again.
set -euo pipefail
examples="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
data="$(realpath "${1:-$examples/../../shared/reference/rattled}")"
[ -d "$data" ] || { echo "there is no folder $data: name the one with the DFT data" >&2; exit 1; }
mkdir -p "${2:-study-example}"
cd "${2:-study-example}"
overrides="$examples/study.yaml"

n_jobs() { verdi -p "$1" process list -a -r -P pk process_label 2>/dev/null | grep -c Calculation || true; }

new_profile() {
    export AIIDA_PATH="$PWD/$1"
    mkdir -p "$AIIDA_PATH"
    verdi profile show "$1" >/dev/null 2>&1 && return
    verdi profile setup core.sqlite_dos -n --profile-name "$1" --email "$1@example.org"
    aiida-equitrain -p "$1" setup --offline
}

new_profile publisher
if ! aiida-equitrain -p publisher list datasets | grep -q AlN; then
    for crystal in Si:Si-111-222-rd.tar.xz:PBE NaCl:NaCl-rd:PBE AlN:AlN-rd_phonopy_params_mp-661.yaml.xz:PBEsol; do
        IFS=: read -r label file functional <<<"$crystal"
        aiida-equitrain -p publisher data import "$data/$file" --functional "$functional" --n-frames 10 --n-test 10 --label "$label" \
            --group crystals --source "https://github.com/phonopy/phonopy (examples)"
    done
fi

study=(launch study crystals --strategies l2-tsp,lora,transfer --sizes 4,8 --protocol fast --max-concurrent 2
    --overrides "$overrides")
aiida-equitrain -p publisher "${study[@]}" --report report
before=$(n_jobs publisher)
echo 'The same study again:'
aiida-equitrain -p publisher "${study[@]}"
after=$(n_jobs publisher)
[ "$before" = "$after" ] || { echo "the same study made $((after - before)) new jobs" >&2; exit 1; }
echo "it made no new job ($after as before)"

pk=$(aiida-equitrain -p publisher list studies --csv | sed -n 2p | cut -d, -f1)
rm -f study.aiida
aiida-equitrain -p publisher publish "$pk" -o study.aiida
new_profile reader
aiida-equitrain -p reader reproduce study.aiida --rerun finetune,phonons --csv reproduced.csv
