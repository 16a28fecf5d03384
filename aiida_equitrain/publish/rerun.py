"""Run a published study or main job again on this machine, from what is stored, and compare the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from aiida import orm
from aiida.plugins import WorkflowFactory

from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.query import study_table
from aiida_equitrain.query.jobs import jobs_of
from aiida_equitrain.setup import defaults
from aiida_equitrain.workflows.dft import mpi_options

from .clean import MARK

#: What may be run again: the trainings, the phonons of the potentials, and everything that needs DFT.
STEPS = ('finetune', 'phonons', 'all')
#: Largest difference that counts as reproduced, by the end of a quantity's name: absolute (its own unit) and relative;
#: the larger one counts. Trainings in float32 end a little differently on another processor or version of torch.
TOLERANCES = {
    'phonon_mae_thz': (0.02, 0.10),
    'phonon_rmse_thz': (0.03, 0.10),
    'frequency_thz': (0.10, 0.02),
    'heat_capacity_j_per_k_mol': (0.05, 0.01),
    'entropy_j_per_k_mol': (0.10, 0.02),
    'free_energy_kj_per_mol': (0.05, 0.02),
    'volume_angstrom3': (0.02, 0.005),
    'forces_mae_mev_per_angstrom': (1.0, 0.10),
}
ROW = ('material', 'strategy', 'n_train', 'seed')
#: Numbers by row and quantity.
Numbers = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Line:
    """One quantity of one row, as published and as found.

    :param verdict: ``reproduced``, ``differs`` or ``not rerun``.
    """

    row: str
    quantity: str
    published: float
    found: float | None
    tolerance: float
    verdict: str


def plan(node: orm.ProcessNode, steps: tuple[str, ...]) -> list[str]:
    """Return sentences about what would run."""
    n_rows = len(study_table(node)) if 'table' in node.outputs else 1
    if not steps:
        return []
    lines = [f'{n_rows} trainings, each with the phonons of its potential, from the stored labels']
    if 'all' in steps:
        lines.append('before them all DFT: the labels, and the phonons that results are judged by')
    return lines


def steps_problem(steps: tuple[str, ...]) -> str | None:
    """Return why these steps cannot be run, or ``None``."""
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        return f'`{unknown[0]}` is none of the steps {", ".join(STEPS)}'
    if steps and 'all' not in steps and set(steps) != {'finetune', 'phonons'}:
        return 'trainings and phonons are run again together: `finetune,phonons`, or `all`'
    return None


def map_codes(node: orm.ProcessNode, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Return this machine's code for each code of the graph, by UUID.

    :param chosen: label of this machine's code by the label of the graph's; the others are found by their job plugin,
        or by what they are called in the set-up.
    :raises NotExistent: with the remedy, if this machine lacks one.
    """
    mapped = {}
    for code in _codes(node):
        label = chosen.get(code.label.removesuffix(MARK)) or _local_label(code, node)
        mapped[code.uuid] = defaults.find_code(label)
    return mapped


def potentials_of(node: orm.ProcessNode) -> list[PotentialData]:
    """Return the potentials that a rerun executes: those among the inputs, and what adapters among them belong to."""
    nodes = [link.node for link in node.base.links.get_incoming().all()]
    given = {item.uuid: item for item in nodes if isinstance(item, PotentialData)}
    below = [potential.foundation for potential in given.values()]
    return list(given.values()) + [item for item in below if item is not None and item.uuid not in given]


def builder_of(node: orm.ProcessNode, steps: tuple[str, ...], codes: Mapping[str, Any]) -> Any:
    """Return the builder of a rerun, with this machine's codes.

    Unless the steps say ``all``, datasets and DFT phonons are the stored ones.
    """
    process: Any = WorkflowFactory(str(node.process_type).partition(':')[2])
    inputs = _mapped(_nested(node.inputs), codes)
    if 'materials' in inputs:
        inputs['settings'] = orm.Dict({**inputs['settings'].get_dict(), 'reuse': False})
        rows = {row.inputs.structure.uuid: row for row in _rows(node)}
        for name, material in inputs['materials'].items():
            if 'all' not in steps:
                _take_stored(material, node.outputs.datasets[name], rows.get(material['structure'].uuid))
            _complete(material)
    else:
        if 'all' not in steps:
            reference = node.outputs.phonons.dft.phonopy_data if 'dft_phonons' in inputs else None
            _take_stored(inputs, node.outputs.dataset, None, reference)
        _complete(inputs)
    builder = process.get_builder()
    for name, value in inputs.items():
        setattr(builder, name, value)
    return builder


def compare(published: Numbers, found: Numbers | None) -> list[Line]:
    """Return one line per row and quantity of :data:`TOLERANCES`.

    :param published: of :func:`numbers_of`.
    """
    lines = []
    for (row, quantity), value in published.items():
        absolute, relative = _tolerance(quantity)
        tolerance = max(absolute, relative * abs(value))
        other = None if found is None else found.get((row, quantity))
        verdict = 'not rerun'
        if found is not None:
            verdict = 'reproduced' if other is not None and abs(other - value) <= tolerance else 'differs'
        lines.append(Line(row, quantity, value, other, tolerance, verdict))
    return lines


def versions_that_differ(published: Mapping[str, str], found: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return package -> (version of the publisher, version here) where they differ, see :func:`versions_of`."""
    return {
        name: (published.get(name, 'absent'), found.get(name, 'absent'))
        for name in sorted(set(published) | set(found))
        if published.get(name) != found.get(name)
    }


def _tolerance(quantity: str) -> tuple[float, float]:
    return next(pair for end, pair in TOLERANCES.items() if quantity.endswith(end))


def numbers_of(node: orm.ProcessNode) -> Numbers:
    """Return all numbers that have a tolerance, by row and quantity."""
    found: Numbers = {}
    if 'table' in node.outputs:
        for record in study_table(node).to_dict('records'):
            name = ' '.join(str(record[key]) for key in ROW)
            found |= {(name, str(key)): value for key, value in record.items()}
    elif 'comparison' in node.outputs:
        for side, values in node.outputs.comparison['candidates'].items():
            found |= {(side, key): value for key, value in values.items()}
    ends = tuple(TOLERANCES)
    return {
        key: float(value)
        for key, value in found.items()
        if key[1].endswith(ends) and not key[1].startswith('reference_') and _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(pd.notna(value))


def versions_of(node: orm.ProcessNode) -> dict[str, str]:
    """Return the versions that the jobs of a process said."""
    found: dict[str, str] = {}
    processes = [node, *(_rows(node) if 'table' in node.outputs else [])]
    for job in (job for process in processes for job in jobs_of(process)):
        if 'summary' in job.outputs:
            found |= dict(job.outputs.summary.get_dict().get('versions') or {})
    return found


def _rows(node: orm.ProcessNode) -> list[Any]:
    """Return the main jobs of a study, those that an earlier study ran included."""
    uuids = [uuid for uuid in study_table(node)['process_uuid'] if isinstance(uuid, str)]
    return [orm.load_node(uuid) for uuid in uuids]


def _take_stored(inputs: dict[str, Any], dataset: Any, row: Any, reference: Any = None) -> None:
    """Put stored labels and DFT phonons in the place of how they are made."""
    inputs.pop('label', None)
    inputs['dataset'] = dataset
    if 'dft_phonons' in inputs:
        inputs.pop('dft_phonons')
        reference = reference or (row.inputs.reference if row is not None and 'reference' in row.inputs else None)
    if reference is not None:
        inputs['reference'] = reference


def _complete(inputs: dict[str, Any]) -> None:
    """Give each pw.x job the options without which it cannot be submitted; the publisher's are not those of here."""
    for namespace in _namespaces(inputs):
        code = namespace.get('code')
        if code is not None and code.default_calc_job_plugin == 'quantumespresso.pw':
            resources = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}}
            namespace['metadata'] = {'options': mpi_options(code, resources)}


def _namespaces(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield values
    for value in values.values():
        if isinstance(value, dict):
            yield from _namespaces(value)


def _nested(manager: Any) -> dict[str, Any]:
    """Return the inputs of a process as nested dictionaries of nodes."""
    return {name: value if isinstance(value := manager[name], orm.Node) else _nested(value) for name in list(manager)}


def _mapped(values: dict[str, Any], codes: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result[name] = _mapped(value, codes)
        else:
            result[name] = codes[value.uuid] if isinstance(value, orm.AbstractCode) else value
    return result


def _codes(node: orm.ProcessNode) -> list[Any]:
    """Return the codes among the inputs."""
    found = [link.node for link in node.base.links.get_incoming().all() if isinstance(link.node, orm.AbstractCode)]
    return list({code.uuid: code for code in found}.values())


def _local_label(code: Any, node: orm.ProcessNode) -> str:
    """Return how this machine's set-up calls a code, by its plugin or by the port that it stands at."""
    plugins = {'quantumespresso.pw': defaults.PW_CODE, 'quantumespresso.ph': defaults.PH_CODE,
               'phonopy.phonopy': defaults.PHONOPY_CODE}  # fmt: skip
    if code.default_calc_job_plugin in plugins:
        return plugins[code.default_calc_job_plugin]
    ports = {link.link_label for link in node.base.links.get_incoming().all() if link.node.uuid == code.uuid}
    if ports <= {'phonopy_code'}:
        return defaults.PHONOPY_CODE
    return defaults.python_label(node.inputs.foundation)
