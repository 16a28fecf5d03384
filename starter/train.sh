#!/usr/bin/env bash
# Train the starter potential on the teacher's labels (label.py). Usage: train.sh LABELS_FOLDER OUTPUT_FOLDER [EPOCHS]
# The learning rate falls from 0.01 to 2e-4 over the epochs; one thread, float32.
set -euo pipefail
labels=$(realpath "$1"); mkdir -p "$2"; cd "$2"; epochs=${3:-38}
gamma=$(python3 -c "print(0.02 ** (1 / $epochs))")
export OMP_NUM_THREADS=${THREADS:-1} MKL_NUM_THREADS=${THREADS:-1}
exec mace_run_train --name=starter --seed=20261123 --device=cpu --default_dtype=float32 \
    --train_file="$labels/train.xyz" --valid_file="$labels/valid.xyz" --test_file="$labels/test.xyz" \
    --energy_key=REF_energy --forces_key=REF_forces --stress_key=REF_stress --E0s=average \
    --model=MACE --hidden_irreps='64x0e + 64x1o' --max_ell=2 --correlation=2 --num_interactions=2 --r_max=5.0 \
    --num_radial_basis=8 --MLP_irreps=16x0e --scaling=rms_forces_scaling --compute_stress=True \
    --loss=universal --energy_weight=1 --forces_weight=10 --stress_weight=10 \
    --lr=0.01 --scheduler=ExponentialLR --lr_scheduler_gamma="$gamma" --ema --ema_decay=0.995 \
    --batch_size=4 --valid_batch_size=16 --max_num_epochs="$epochs" --eval_interval=1 --error_table=PerAtomMAE
