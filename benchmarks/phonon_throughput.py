"""Time ``equitrain.phonons`` against aiida-phonopy's ``phonopy.ase`` on the same displaced supercells and potential.

Both use the starter potential on one computer (this one), in a temporary AiiDA profile that is deleted afterwards.
``phonopy.ase`` starts one Python for each displacement; ``equitrain.phonons`` evaluates all of them in one job.

    python benchmarks/phonon_throughput.py [--displacements 2 12 48] [--repeat 2] [--concurrent 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def make_profile(folder: str) -> None:
    """Create and load a profile in ``folder``; no other profile is touched."""
    os.environ['AIIDA_PATH'] = folder
    from aiida.manage.configuration import create_profile, get_config, load_profile

    config = get_config(create=True)
    profile = create_profile(
        config,
        name='benchmark',
        email='benchmark@localhost',
        storage_backend='core.sqlite_dos',
        storage_config={'filepath': str(Path(folder) / 'storage')},
    )
    config.set_option('runner.poll.interval', 0, scope=profile.name)
    config.store()
    load_profile(profile.name)


def make_codes(folder: str) -> tuple[Any, Any]:
    """Return the codes of Python and phonopy on a computer without delays."""
    from aiida import orm

    from aiida_equitrain.setup.setup import PREPEND_TEXT

    _, computer = orm.Computer.collection.get_or_create(
        label='localhost',
        hostname='localhost',
        transport_type='core.local',
        scheduler_type='core.direct',
        workdir=folder,
    )
    computer.store()
    computer.set_minimum_job_poll_interval(0.0)
    computer.set_default_mpiprocs_per_machine(1)
    computer.configure(use_login_shell=False, safe_interval=0.0)
    prepend = f'{PREPEND_TEXT}\nexport TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1'
    phonopy = Path(sys.executable).parent / 'phonopy'
    codes = [
        orm.InstalledCode(
            label=label, computer=computer, filepath_executable=str(path), default_calc_job_plugin=plugin,
            prepend_text=prepend, with_mpi=False,
        ).store()
        for label, path, plugin in (('python', sys.executable, None), ('phonopy', phonopy, 'phonopy.phonopy'))
    ]  # fmt: skip
    return codes[0], codes[1]


def time_equitrain(structure: Any, potential: Any, codes: tuple[Any, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Run ``equitrain.phonons`` on one case."""
    from aiida import orm
    from aiida.engine import run_get_node
    from aiida.plugins import WorkflowFactory

    builder = WorkflowFactory('equitrain.phonons').get_builder_from_protocol(
        structure=structure,
        phonopy_code=codes[1],
        potential=potential,
        python_code=codes[0],
        supercell_matrix=case['supercell'],
        relax=False,
        overrides={'displacement': case['displacement'], 'settings': {'mesh': case['mesh']}},
    )
    builder.symprec = orm.Float(1e-5)
    start = time.time()
    _, node = run_get_node(builder)
    return summary(node, time.time() - start)


def time_phonopy_ase(structure: Any, model: Path, codes: tuple[Any, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Run ``phonopy.ase`` on one case, with bands and density of states as ``equitrain.phonons`` makes them."""
    from aiida import orm
    from aiida.engine import run_get_node
    from aiida.plugins import WorkflowFactory

    path = str(model)

    def calculator() -> Any:
        from mace.calculators import MACECalculator

        return MACECalculator(model_paths=path, device='cpu', default_dtype='float64')

    process = WorkflowFactory('phonopy.ase')
    tags = {'BAND': 'auto', 'DOS': True, 'WRITE_MESH': True, 'MESH': case['mesh'], 'FC_SYMMETRY': True}
    inputs = process.get_populated_builder(
        structure=structure,
        calculator=calculator,
        pythonjob_inputs={'code': codes[0]},
        supercell_matrix=case['supercell'],
        displacement_generator=case['displacement'],
        phonopy_inputs={'code': codes[1], 'parameters': orm.Dict(tags)},
    )
    inputs['settings'] = {'max_concurrent_base_workchains': case['concurrent']}
    start = time.time()
    _, node = run_get_node(process, **inputs)
    return summary(node, time.time() - start)


def summary(node: Any, seconds: float) -> dict[str, Any]:
    """Return the wall time and the number of jobs of a WorkChain; stop if it failed."""
    from aiida import orm

    if not node.is_finished_ok:
        raise SystemExit(f'{node.process_label} failed with {node.exit_status}: {node.exit_message}')
    jobs = [child for child in node.called_descendants if isinstance(child, orm.CalcJobNode)]
    return {'seconds': round(seconds, 1), 'jobs': len(jobs), 'node': node}


def largest_difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference of the forces (eV/Å) of the two WorkChains."""
    import numpy as np

    forces = ours.outputs.phonopy_data.forces
    others = theirs.outputs.phonopy_data.forces
    return float(np.abs(np.array(forces) - np.array(others)).max())


def run_cases(arguments: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    """Return a row for each number of displacements."""
    import warnings

    from aiida import orm
    from ase.build import bulk

    from aiida_equitrain.data.potential import PotentialData
    from aiida_equitrain.setup.shipped import starter_files

    warnings.simplefilter('ignore')
    model, card = starter_files()
    potential = PotentialData(model, card=json.loads(card.read_text())).store()
    structure = orm.StructureData(ase=bulk('Si', a=5.47, cubic=True)).store()
    codes = make_codes(folder)
    rows = []
    for number in arguments.displacements:
        case = {
            'supercell': [[arguments.repeat if i == j else 0 for j in range(3)] for i in range(3)],
            'displacement': {'distance': 0.03, 'number_of_snapshots': number, 'random_seed': 7},
            'mesh': [20, 20, 20],
            'concurrent': arguments.concurrent,
        }
        ours = time_equitrain(structure, potential, codes, case)
        theirs = time_phonopy_ase(structure, model, codes, case)
        rows.append(
            {
                'displacements': number,
                'atoms': 8 * arguments.repeat**3,
                'equitrain_seconds': ours['seconds'],
                'phonopy_ase_seconds': theirs['seconds'],
                'ratio': round(theirs['seconds'] / ours['seconds'], 2),
                'equitrain_jobs': ours['jobs'],
                'phonopy_ase_jobs': theirs['jobs'],
                'force_difference_ev_per_angstrom': largest_difference(ours['node'], theirs['node']),
            }
        )
        if not arguments.json:
            print('  '.join(f'{key} {value}' for key, value in rows[-1].items()), flush=True)
    return rows


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--displacements', type=int, nargs='+', default=[2, 12, 48])
    parser.add_argument('--repeat', type=int, default=2, help='cubic silicon cells along each edge (8 atoms each)')
    parser.add_argument('--concurrent', type=int, default=2, help='jobs that `phonopy.ase` may run at a time')
    parser.add_argument('--json', action='store_true', help='print the rows as JSON')
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix='equitrain-benchmark-')
    try:
        make_profile(folder)
        rows = run_cases(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))


if __name__ == '__main__':
    main()
