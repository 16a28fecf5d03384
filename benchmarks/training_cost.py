"""What a training job costs beside the engine that it runs: its training against the bare engine on the same files.

    python benchmarks/training_cost.py [--engines equitrain mace] [--epochs 15] [--repeat 3] [--json]

Each repetition runs the CalcJob ``equitrain.train`` (``transfer``, from the starter) on six frames of 64 atoms, and
then the engine alone in a copy of its folder: ``equitrain.train(args)`` on its HDF5 files, or ``mace_run_train``
with its configuration. ``job_seconds`` is from the making of data loaders and optimiser to the end of training, as
measured in the job; ``bare_seconds`` is the wall time of the same. The ratio is that of the smallest times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from temporary_profile import load_code

ROOT = Path(__file__).resolve().parents[1]
FRAMES = ROOT / 'tests' / 'fixtures' / 'si8_pbe.npz'

EQUITRAIN = """
import json, time
import mace
from equitrain import get_args_parser_train, train
values = json.load(open('job.json'))['hyperparameters']
args = get_args_parser_train().parse_args([])
for name, value in values.items():
    if hasattr(args, name) and value is not None:
        setattr(args, name, value)
args.train_file, args.valid_file, args.output_dir, args.seed = 'data/train.h5', 'data/valid.h5', 'bare', 1
args.num_workers, args.model, args.model_wrapper, args.tqdm = 0, 'foundation.model', 'mace', False
start = time.time()
train(args)
print('SECONDS', time.time() - start)
"""


def make_inputs(code: Any, epochs: int) -> dict[str, Any]:
    """Return the inputs of the job, without the engine."""
    from aiida import orm

    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.data.potential import PotentialData
    from aiida_equitrain.science.frames import Frames
    from aiida_equitrain.setup.shipped import starter_files

    frames = []
    for frame in Frames.load(FRAMES):
        atoms = frame.to_atoms(keys=True) * (2, 2, 2)
        atoms.info['REF_energy'] = 8 * frame.energy
        frames.append(atoms)
    return {
        'code': code,
        'foundation': PotentialData(starter_files()[0]).store(),
        'dataset': DatasetData(Frames.from_atoms(frames), functional='PBE').store(),
        'strategy': orm.Str('transfer'),
        'hyperparameters': orm.Dict({'epochs': epochs, 'batch_size': 2, 'lr': 1e-3}),
    }


def run_job(inputs: dict[str, Any], engine: str) -> tuple[float, Path]:
    """Run the CalcJob; return the seconds of its training, and its folder."""
    from aiida import orm
    from aiida.engine import run_get_node

    from aiida_equitrain.calculations.train import TrainCalculation

    results, node = run_get_node(TrainCalculation, **inputs, engine=orm.Str(engine))
    if not node.is_finished_ok:
        raise SystemExit(f'the job ended with {node.exit_status}: {node.exit_message}')
    return float(results['summary']['seconds_engine']), Path(node.get_remote_workdir())


def run_bare(folder: Path, engine: str) -> float:
    """Run the engine alone on the files of a job; return its seconds."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1',
                   'MPLBACKEND': 'Agg'}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / 'job'))
        if engine == 'mace':
            copy /= 'mace'
            for left in ('checkpoints', 'results'):
                shutil.rmtree(copy / left, ignore_errors=True)
            command = [sys.executable, '-W', 'ignore', '-m', 'mace.cli.run_train', '--config', 'config.yaml']
        else:
            command = [sys.executable, '-W', 'ignore', '-c', EQUITRAIN]
        start = time.time()
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        seconds = time.time() - start
    if done.returncode:
        raise SystemExit(f'the bare engine `{engine}` failed: {done.stderr[-2000:]}')
    if engine == 'equitrain':
        seconds = float(done.stdout.rpartition('SECONDS')[2])
    return seconds


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--engines', nargs='+', default=['equitrain', 'mace'])
    parser.add_argument('--epochs', type=int, default=15)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--json', action='store_true', help='print the rows as a JSON list')
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix='equitrain-cost-') as folder:
        inputs = make_inputs(load_code(folder), args.epochs)
        for engine in args.engines:
            jobs, bare = [], []
            for _ in range(args.repeat):
                seconds, workdir = run_job(inputs, engine)
                jobs.append(seconds)
                bare.append(run_bare(workdir, engine))
            row = {
                'engine': engine,
                'epochs': args.epochs,
                'job_seconds': [round(value, 2) for value in jobs],
                'bare_seconds': [round(value, 2) for value in bare],
                'ratio': round(min(jobs) / min(bare), 3),
            }
            rows.append(row)
            if not args.json:
                print('  '.join(f'{key} {value}' for key, value in row.items()), flush=True)
    if args.json:
        print(json.dumps(rows))


if __name__ == '__main__':
    main()
