"""Fine-tune a potential on a few rattled DFT frames and judge it by the DFT phonons of the same crystal.

    python benchmarks/phonon_accuracy.py [--strategies l2-tsp transfer] [--seeds 1 2 3] [--frames 10] [--json]

Every row is one run of the WorkChain ``equitrain.finetune`` in a temporary AiiDA profile; ``judge.py`` says how it is
judged. Rows are appended to ``--output`` as they come; rows that are there already are not computed again.

A machine with a GPU, but without AiiDA, can do the training: ``--device cuda --prepare FOLDER`` writes there what the
jobs of the missing rows need, ``train_elsewhere.py FOLDER`` runs them, and ``--device cuda --trained FOLDER`` takes in
what came out as finished jobs, and judges it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from judge import ROW, run_group

ROOT = Path(__file__).resolve().parents[1]
RATTLED = ROOT.parent / 'shared' / 'reference' / 'rattled'
#: Data sets with the functional of their labels.
DATASETS = {
    'Si': ('Si-111-222-rd.tar.xz', 'PBE'),
    'NaCl': ('NaCl-rd', 'PBE'),
    'AlN': ('AlN-rd_phonopy_params_mp-661.yaml.xz', 'PBEsol'),
}
#: Rows that agree in these are computed in one process.
SHARED = ('material', 'n_frames', 'seed')


def read_arguments(defaults: dict[str, Any] | None = None) -> argparse.Namespace:
    """Return the arguments.

    :param defaults: that differ from those of this script.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--materials', nargs='+', default=None, help=f'of {", ".join(DATASETS)}; default: all')
    parser.add_argument('--data', type=Path, nargs='+', default=[], help='further phonopy or phono3py params files')
    parser.add_argument('--functional', default='unknown', help='of the labels in --data')
    parser.add_argument('--strategies', nargs='+', default=['l2-tsp', 'transfer'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3])
    parser.add_argument(
        '--frames', type=int, nargs='+', default=[10], help='labelled frames, of which a fifth is for validation'
    )
    parser.add_argument('--test-frames', type=int, default=20, help='at most so many of the others are for testing')
    parser.add_argument(
        '--phonon-frames',
        action='store_const',
        const=True,
        help='draw frames of the supercell for harmonic force constants, where a phono3py file has two',
    )
    parser.add_argument(
        '--pypolymlp', metavar='PYTHON', help='also fit polynomial potentials, with this Python, for new rows'
    )
    parser.add_argument('--protocol', default=None, help='of the WorkChain; default: its default')
    parser.add_argument('--hyperparameters', type=json.loads, default={}, help='JSON that overrides the protocol')
    parser.add_argument(
        '--replay', type=int, nargs='+', default=[200], help='frames that multihead replays, labelled by the foundation'
    )
    parser.add_argument('--foundation', type=Path, default=None, help='model file of any family; default: the starter')
    parser.add_argument(
        '--python', default=sys.executable, help='of the jobs: one with sevenn for SevenNet; default: this'
    )
    parser.add_argument('--device', default='cpu', help='of the training: cpu or cuda')
    parser.add_argument('--prepare', type=Path, default=None, metavar='FOLDER', help='write the jobs of missing rows')
    parser.add_argument('--trained', type=Path, default=None, metavar='FOLDER', help='take jobs that were run there')
    parser.add_argument('--jobs', type=int, default=1, help='rows computed at once')
    parser.add_argument(
        '--output', type=Path, default=Path('phonon_accuracy.jsonl'), help='rows, one JSON object a line'
    )
    parser.add_argument('--json', action='store_true', help='print the rows as a JSON list')
    parser.add_argument('--one', type=json.loads, default=None, help=argparse.SUPPRESS)
    parser.set_defaults(**(defaults or {}))
    return parser.parse_args()


def key_of(task: dict[str, Any]) -> tuple[Any, ...]:
    """Return what makes a row the same row."""
    names = ('material', 'strategy', 'seed', 'n_frames', 'protocol', 'hyperparameters', 'foundation_sha256', 'replay')
    names += ('phonon_frames',)
    return tuple(json.dumps(task.get(name), sort_keys=True) for name in names)


def list_tasks(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one task per row."""
    import hashlib

    from aiida_equitrain.setup.shipped import starter_files

    known = {name: (str(RATTLED / file), functional) for name, (file, functional) in DATASETS.items()}
    wanted = list(known) if args.materials is None and not args.data else (args.materials or [])
    absent = [name for name in wanted if name not in known]
    if absent:
        raise SystemExit(f'--materials knows {", ".join(known)}, not {absent[0]}; give other files by --data')
    data = {name: known[name] for name in wanted}
    data.update({path.name.split('.')[0]: (str(path.resolve()), args.functional) for path in args.data})
    foundation = (args.foundation or starter_files()[0]).resolve()
    return [
        {
            'material': name,
            'path': path,
            'functional': functional,
            'strategy': strategy,
            'seed': seed,
            'n_frames': n_frames,
            'replay': replay,
            'test_frames': args.test_frames,
            'phonon_frames': args.phonon_frames,
            'pypolymlp': args.pypolymlp,
            'protocol': args.protocol,
            'hyperparameters': args.hyperparameters,
            'device': args.device,
            'prepare': str(args.prepare.resolve()) if args.prepare else None,
            'trained': str(args.trained.resolve()) if args.trained else None,
            'foundation': str(foundation),
            'python': str(Path(args.python).absolute()),
            'foundation_sha256': hashlib.sha256(foundation.read_bytes()).hexdigest(),
        }
        for seed in args.seeds
        for n_frames in args.frames
        for name, (path, functional) in data.items()
        for strategy in args.strategies
        for replay in (args.replay if strategy == 'multihead' else [None])
    ]


def run_in_process(tasks: list[dict[str, Any]], take: Callable[[dict[str, Any]], None]) -> None:
    """Run a group in a process of its own, since a process has one profile.

    :param take: called with each row, or with a task and its ``error``.
    """
    with (
        tempfile.TemporaryDirectory(prefix='equitrain-accuracy-') as scratch,
        (Path(scratch) / 'log').open('w+') as log,
    ):
        command = [sys.executable, '-W', 'ignore', __file__, '--one', json.dumps({'tasks': tasks, 'scratch': scratch})]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
        missing = {key_of(task): task for task in tasks}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as child:
            for line in child.stdout or ():
                if line.startswith(ROW):
                    row = json.loads(line.removeprefix(ROW))
                    missing.pop(key_of(row))
                    take(row)
        log.seek(0)
        text = log.read()
        for task in missing.values():
            take({**task, 'error': (text.strip().splitlines() or ['no message'])[-1], 'log': text[-4000:]})


def name_of(row: dict[str, Any]) -> str:
    """Return the strategy, with the number of replayed frames where it replays."""
    return f'{row["strategy"]} {row["replay"]}' if row.get('replay') else str(row['strategy'])


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table of rows, then means over seeds."""
    head = f'{"material":10s}{"strategy":14s}{"seed":>5s}{"frames":>8s}{"foundation":>12s}{"finetuned":>11s}'
    units = f'{"":37s}{"THz":>12s}{"THz":>11s}{"THz":>9s}{"THz":>11s}{"meV/Å":>12s}'
    lines = [f'{head}{"symfc":>9s}{"pypolymlp":>11s}{"forgetting":>12s}', units]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row['material'], name_of(row)), []).append(row)
    for group in groups.values():
        lines += [_line(row, str(row['seed'])) for row in group]
        if len(group) > 1:
            names = ('foundation_mae_thz', 'finetuned_mae_thz', 'symfc_mae_thz', 'pypolymlp_mae_thz')
            names += ('forgetting_mev_per_angstrom',)
            values = {name: [row[name] for row in group if row.get(name) is not None] for name in names}
            mean = {name: sum(found) / len(found) if found else None for name, found in values.items()}
            lines.append(_line({**group[0], **mean}, 'mean'))
    return '\n'.join(lines)


def _line(row: dict[str, Any], seed: str) -> str:
    symfc = '(all)' if row['symfc_is_reference'] else _number(row['symfc_mae_thz'], 3)
    return (
        f'{row["material"]:10s}{name_of(row):14s}{seed:>5s}{row["n_frames"]:8d}{row["foundation_mae_thz"]:12.3f}'
        f'{row["finetuned_mae_thz"]:11.3f}{symfc:>9s}{_number(row.get("pypolymlp_mae_thz"), 3):>11s}'
        f'{_number(row["forgetting_mev_per_angstrom"], 1):>12s}'
    )


def _number(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def known_rows(tasks: list[dict[str, Any]], output: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the rows of the tasks that are in ``output``, by key."""
    wanted = {key_of(task) for task in tasks}
    known = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    return {key_of(row): row for row in known if key_of(row) in wanted}


def compute(tasks: list[dict[str, Any]], output: Path, jobs: int) -> list[dict[str, Any]]:
    """Return the rows of the tasks; those that are in ``output`` are not computed again, new ones are added to it."""
    rows = known_rows(tasks, output)
    todo = [task for task in tasks if key_of(task) not in rows]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for task in todo:
        groups.setdefault(tuple(task[name] for name in SHARED), []).append(task)
    lock, n_done = threading.Lock(), itertools.count(1)
    print(f'{len(rows)} rows are there, {len(todo)} to do', file=sys.stderr)

    def take(row: dict[str, Any]) -> None:
        with lock:
            what = f'{row["material"]} {name_of(row)} {row["n_frames"]} frames, seed {row["seed"]}'
            name = f'[{next(n_done)}/{len(todo)}] {what}'
            if 'error' in row:
                print(f'{name}: FAILED: {row["error"]}\n{row["log"]}', file=sys.stderr)
                return
            if 'folder' in row:
                print(f'{name}: {row["folder"]}', file=sys.stderr, flush=True)
                return
            with output.open('a') as handle:
                handle.write(json.dumps(row) + '\n')
            rows[key_of(row)] = row
            change = f'{row["foundation_mae_thz"]:.3f} -> {row["finetuned_mae_thz"]:.3f} THz'
            print(f'{name}: {change}, {row["seconds"]} s', file=sys.stderr, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for ended in [pool.submit(run_in_process, group, take) for group in groups.values()]:
            ended.result()
    return [rows[key_of(task)] for task in tasks if key_of(task) in rows]


def main() -> None:
    args = read_arguments()
    if args.one:
        run_group(**args.one)
        return
    tasks = list_tasks(args)
    rows = compute(tasks, args.output, args.jobs)
    print(json.dumps(rows) if args.json else table(rows))
    sys.exit(0 if len(rows) == len(tasks) else 1)


if __name__ == '__main__':
    main()
