"""What all jobs are asked to have of a scheduler (``metadata.options``): one place for all, the more specific wins.

Overrides have a block ``options`` for all jobs, ``gpu`` for those whose ``device`` is ``cuda``, ``dft`` for those of
Quantum ESPRESSO and ``training`` for trainings, in this order; as everywhere, ``metadata: {options: ...}`` in the
nesting of the ports is for one job, and goes before all. A walltime is asked for only where one of them says so: else
that of the computer or of the partition holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from aiida import orm
from aiida.engine import CalcJob, PortNamespace, ProcessBuilder
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge

from aiida_equitrain.calculations.script_job import SERIAL_RESOURCES
from aiida_equitrain.common.validation import nearest

#: Blocks of the overrides for jobs of a kind, beside ``options`` for all.
GPU, DFT, TRAINING = KINDS = ('gpu', 'dft', 'training')
#: A port by which the jobs of a kind are known: pseudopotentials (pw.x), a calculation before (ph.x), hyperparameters.
MARKS = {'pseudos': DFT, 'parent_folder': DFT, 'hyperparameters': TRAINING}
#: What a protocol of aiida-quantumespresso asks for (12 hours), and no user.
UNASKED = ('max_wallclock_seconds',)
#: Jobs that look at phonons, and the port of their code.
AFTERWARDS = {'phonopy': 'phonopy_code'} | dict.fromkeys(
    ('harmonic', 'compare', 'modes', 'qha', 'conductivity'), 'postprocess_code'
)


def take_options(
    overrides: Mapping[str, Any] | None, options: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the overrides without the blocks of options, and these merged over what is given beside them.

    :param options: for all jobs, with those of a kind under its name.
    :raises ValueError: with a sentence, if a key is no option of a job.
    """
    rest, merged = dict(overrides or {}), dict(options or {})
    for block in ('options', *KINDS):
        given = rest.pop(block, None)
        if given is None:
            continue
        if not isinstance(given, Mapping):
            raise ValueError(f'`{block}` of the overrides must hold options of jobs, such as `account`')
        merged = recursive_merge(merged, dict(given) if block == 'options' else {block: dict(given)})
    inputs: Any = CalcJob.spec().inputs
    known = sorted(inputs['metadata']['options'])
    for where, names in {
        'options': set(merged) - set(KINDS),
        **{kind: merged.get(kind) or () for kind in KINDS},
    }.items():
        for name in names:
            if name not in known:
                raise ValueError(f'`{where}` has the unknown option `{name}`: {nearest(name, known)}')
    return rest, merged


def options_for(options: Mapping[str, Any] | None, *kinds: str) -> dict[str, Any]:
    """Return the options of a job that is of some kinds, the last of which goes before the others."""
    given = options or {}
    found = {key: value for key, value in given.items() if key not in KINDS}
    for kind in kinds:
        found = recursive_merge(found, dict(given.get(kind) or {}))
    return found


def set_options(
    builder: ProcessBuilder,
    overrides: Mapping[str, Any] | None,
    options: Mapping[str, Any] | None,
    skip: Collection[str] = (),
) -> ProcessBuilder:
    """Set ``metadata.options`` of the jobs of a builder: those of all, of their kinds, and of their own overrides.

    ``clean_workdir`` of the overrides is set as well, as it is for all jobs.

    :param overrides: in the nesting of the ports.
    :param skip: namespaces at the top, whose own builder did so.
    :returns: the builder.
    """
    if (clean := (overrides or {}).get('clean_workdir')) is not None:
        builder.clean_workdir = orm.Bool(clean)
    elsewhere = _elsewhere(builder)
    for path, ports, values in _jobs(builder, builder.process_class.spec().inputs, ()):
        if path[0] not in skip:
            own: Any = overrides or {}
            for key in (*path, 'metadata', 'options'):
                own = own.get(key) or {} if isinstance(own, Mapping) else {}
            _set(ports, values, own, {} if path[-1] in elsewhere else options or {})
    return builder


def _elsewhere(builder: ProcessBuilder) -> set[str]:
    """Return the jobs whose code is on another computer than that of the potential or DFT: the options are not its."""
    main = builder.get('python_code') if 'python_code' in builder else None
    if main is None:
        return set()
    codes = {name: builder[port] for name, port in AFTERWARDS.items() if port in builder}
    return {name for name, code in codes.items() if code is not None and code.computer.uuid != main.computer.uuid}


def _jobs(values: Any, ports: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield place, ports and values of every job of a builder; an optional WorkChain that has no inputs is none."""
    for name, port in ports.items():
        if not isinstance(port, PortNamespace) or name not in values or name == 'metadata':
            continue
        inner = values[name]
        metadata: Any = port.get('metadata', ())
        if 'options' in metadata:
            yield (*path, name), port, inner
        elif port.required or inner._inputs(prune=True):
            yield from _jobs(inner, port, (*path, name))


def _set(ports: PortNamespace, values: Any, own: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Set the options of one job."""
    kinds = [kind for mark, kind in MARKS.items() if mark in ports]
    settings = [values.get(port) for port in ('settings', 'hyperparameters')]
    if any(isinstance(node, orm.Dict) and node.get('device', None) == 'cuda' for node in settings):
        kinds.insert(0, GPU)
    asked = recursive_merge(options_for(options, *kinds), dict(own))
    before = values['metadata']._inputs(prune=True).get('options', {})
    for key in UNASKED:
        before.pop(key, None)
    chosen = recursive_merge(before, asked)
    if DFT not in kinds:
        if not chosen:
            return
        # A builder does not fill in the resources that a port has by default once other options are given.
        chosen = {'resources': dict(SERIAL_RESOURCES), **chosen, 'withmpi': False}
    elif isinstance(code := values.get('code'), orm.AbstractCode) and code.with_mpi is not None:
        # A job of a code that says the contrary would except.
        chosen['withmpi'] = bool(code.with_mpi)
    values['metadata']['options'] = chosen
